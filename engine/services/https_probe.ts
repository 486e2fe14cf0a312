/** https_probe: the status that a service answers a GET with, over TLS, asked by a child process.
 *  Owns:   the queue of children: one runs at a time.   Not here: plain HTTP (http_probe.ts).
 *  Thread: main; never waits.
 *  Holds:  (1) a child ends within the time given, by its own clock and by ours.  (2) node:child_process is loaded with the first. */

/** Runs in the child: url, milliseconds → the status, or words, on stdout. */
const SCRIPT = `
const [url, timeoutMs] = process.argv.slice(1)
const say = text => { process.stdout.write(String(text)); process.exit(0) }
setTimeout(() => say('no answer within ' + timeoutMs + ' ms'), Number(timeoutMs))
require('node:https')
  .get(url, { agent: false, headers: { 'user-agent': 'hearth' } }, answer => say(answer.statusCode))
  .on('error', error => say(error.code || error.message))`

const SPARE_MS = 5_000
const OUTPUT_BYTES_MAX = 4_096

let last: Promise<unknown> = Promise.resolve()

/** Rejects with an Error in words for an operator. */
export function probeHttps(url: string, path: string, timeoutMs: number): Promise<number> {
  const address = url.replace(/\/+$/, '') + path
  const probe = last.then(() => ask(address, timeoutMs))
  last = probe.catch(() => undefined)
  return probe
}

async function ask(address: string, timeoutMs: number): Promise<number> {
  const { execFile } = await import('node:child_process')
  const options = { timeout: timeoutMs + SPARE_MS, maxBuffer: OUTPUT_BYTES_MAX }
  const output = await new Promise<string>((resolve, reject) => {
    const done = (error: Error | null, stdout: string) =>
      error === null ? resolve(stdout) : reject(new Error(`the check failed: ${error.message}`))
    execFile(process.execPath, ['-e', SCRIPT, address, String(timeoutMs)], options, done)
  })
  if (!/^\d{3}$/.test(output)) throw new Error(output.slice(0, 200))
  return Number(output)
}
