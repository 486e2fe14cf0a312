# binding: the same sources for those who build with node-gyp; `node build.mjs` needs neither it nor Python.
{
  "targets": [
    {
      "target_name": "hearth",
      "sources": ["<!@(ls -1 src/*.c)"],
      "defines": ["NAPI_VERSION=9"],
      "cflags_c": ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fvisibility=hidden"],
      "libraries": ["-ldl", "-lpthread", "-lm"]
    }
  ]
}
