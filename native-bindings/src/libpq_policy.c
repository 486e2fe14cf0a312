/** libpq_policy: see the header. `node` exports its own OpenSSL, and libpq's SSL_ and EVP_ calls bind to it unless libpq
 *  is loaded with RTLD_DEEPBIND. The same major works; another one kills the process during the TLS handshake.
 *  RTLD_DEEPBIND in turn breaks a preloaded allocator (`free(): invalid pointer`), so it is used only where it must be.
 *  Owns: nothing.   Thread: any.   Holds: every read of an ELF file stays inside its mapped size. */
#define _GNU_SOURCE
#include "libpq_policy.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef RTLD_DEEPBIND
const int deep_bind_flag = RTLD_DEEPBIND;
#else
const int deep_bind_flag = 0;
#endif

typedef struct elf_image {
    const unsigned char *bytes;
    size_t size;
    const ElfW(Phdr) * segments;
    size_t segment_count;
} elf_image_t;

static bool elf_open(const char *path, elf_image_t *image);
static int elf_openssl_major(const elf_image_t *image);
static size_t elf_offset(const elf_image_t *image, ElfW(Addr) address);

libpq_policy_t libpq_policy_decide(int library_major, int node_major, bool is_malloc_interposed, bool can_deep_bind) {
    bool is_clash = library_major > 0 && library_major != node_major;
    if (!is_clash) return (libpq_policy_t){.is_deep_bound = false, .is_tls_safe = true};
    if (is_malloc_interposed || !can_deep_bind) return (libpq_policy_t){.is_deep_bound = false, .is_tls_safe = false};
    return (libpq_policy_t){.is_deep_bound = true, .is_tls_safe = true};
}

int library_openssl_major(const char *path) {
    elf_image_t image;
    if (!elf_open(path, &image)) return -1;
    int major = elf_openssl_major(&image);
    munmap((void *)image.bytes, image.size);
    return major;
}

bool library_resolve(const char *name, char *path, size_t size) {
    static const char *const folders[] = {
#if defined(__x86_64__)
        "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
        "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
#endif
        "/usr/local/lib", "/usr/lib64", "/lib64", "/usr/lib", "/lib"};
    if (strchr(name, '/') != NULL) {
        snprintf(path, size, "%s", name);
        return access(path, R_OK) == 0;
    }
    if (getenv("LD_LIBRARY_PATH") != NULL) return false; /* the loader knows best where it will look */
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, size, "%s/%s", folders[i], name);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

bool malloc_is_interposed(void) {
    Dl_info found;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    if (address == NULL || dladdr(address, &found) == 0 || found.dli_fname == NULL) return false;
    const char *slash = strrchr(found.dli_fname, '/');
    const char *file = slash == NULL ? found.dli_fname : slash + 1;
    return strncmp(file, "libc.so", 7) != 0 && strncmp(file, "libc-", 5) != 0 && strncmp(file, "ld-musl", 7) != 0 &&
           strncmp(file, "libc.musl", 9) != 0;
}

static bool elf_open(const char *path, elf_image_t *image) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    struct stat status;
    bool is_mapped = false;
    if (fstat(file, &status) == 0 && status.st_size > (off_t)sizeof(ElfW(Ehdr))) {
        image->size = (size_t)status.st_size;
        void *bytes = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, file, 0);
        is_mapped = bytes != MAP_FAILED;
        image->bytes = bytes;
    }
    close(file);
    if (!is_mapped) return false;
    const ElfW(Ehdr) *header = (const void *)image->bytes;
    bool is_native = memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
                     header->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
                     header->e_phentsize == sizeof(ElfW(Phdr)) && header->e_phoff % sizeof(void *) == 0 &&
                     header->e_phoff < image->size &&
                     header->e_phnum <= (image->size - header->e_phoff) / sizeof(ElfW(Phdr));
    if (!is_native) {
        munmap((void *)image->bytes, image->size);
        return false;
    }
    image->segments = (const void *)(image->bytes + header->e_phoff);
    image->segment_count = header->e_phnum;
    return true;
}

static int elf_openssl_major(const elf_image_t *image) {
    const ElfW(Dyn) *entries = NULL;
    size_t entry_count = 0;
    for (size_t i = 0; i < image->segment_count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if (segment->p_type != PT_DYNAMIC) continue;
        if (segment->p_offset >= image->size || segment->p_filesz > image->size - segment->p_offset) return -1;
        entries = (const void *)(image->bytes + segment->p_offset);
        entry_count = segment->p_filesz / sizeof *entries;
    }
    size_t names_at = 0;
    for (size_t i = 0; i < entry_count && entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag == DT_STRTAB) names_at = elf_offset(image, entries[i].d_un.d_ptr);
    }
    if (names_at == 0) return -1;
    for (size_t i = 0; i < entry_count && entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag != DT_NEEDED || entries[i].d_un.d_val >= image->size - names_at) continue;
        size_t name_at = names_at + entries[i].d_un.d_val;
        const char *name = (const char *)image->bytes + name_at;
        size_t room = image->size - name_at;
        if (memchr(name, '\0', room) != NULL && strncmp(name, "libssl.so.", 10) == 0) return atoi(name + 10);
    }
    return 0;
}

/* The place in the file of an address in the loaded image; 0 (the ELF header) stands for not found. */
static size_t elf_offset(const elf_image_t *image, ElfW(Addr) address) {
    for (size_t i = 0; i < image->segment_count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if (segment->p_type != PT_LOAD || address < segment->p_vaddr) continue;
        if (address - segment->p_vaddr >= segment->p_filesz) continue;
        size_t offset = (size_t)(address - segment->p_vaddr + segment->p_offset);
        return offset < image->size ? offset : 0;
    }
    return 0;
}
