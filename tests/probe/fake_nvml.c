/* A driver's library with two boards, for the tests of the NVML child program: an RTX 4090, and a
 * GB10 that supports nothing about memory. FAKE_NVML=hang or abort misbehaves as drivers do; it
 * always prints, as they do too. Signatures: nvml.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4 };

typedef struct { int is_gb10; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

static struct { int is_gb10; } boards[2] = {{0}, {1}};

int nvmlInitWithFlags(unsigned flags) {
    const char *mode = getenv("FAKE_NVML");
    (void)flags;
    printf("driver: hello\n");
    fflush(stdout);
    if (mode && !strcmp(mode, "hang")) sleep(60);
    if (mode && !strcmp(mode, "abort")) abort();
    return SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NO_PERMISSION ? "Insufficient Permissions" : "error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned n) { snprintf(text, n, "580.95.05"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d) { *d = (nvmlDevice_t)&boards[i]; return SUCCESS; }
int nvmlDeviceGetName(nvmlDevice_t d, char *text, unsigned n) {
    snprintf(text, n, d->is_gb10 ? "NVIDIA GB10" : "NVIDIA GeForce RTX 4090");
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
    memset(p, 0, sizeof *p);
    strcpy(p->busId, d->is_gb10 ? "0000000F:01:00.0" : "00000000:01:00.0");
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
    if (d->is_gb10) return NOT_SUPPORTED;
    m->total = 24564ULL << 20; m->used = 684ULL << 20; m->free = m->total - m->used;
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
    *major = d->is_gb10 ? 12 : 8; *minor = d->is_gb10 ? 1 : 9;
    return SUCCESS;
}
int nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t d, unsigned *n) { (void)d; *n = 4; return NO_PERMISSION; }
int nvmlDeviceGetMemoryBusWidth(nvmlDevice_t d, unsigned *n) { *n = 384; return d->is_gb10 ? NOT_SUPPORTED : SUCCESS; }
int nvmlDeviceGetMaxClockInfo(nvmlDevice_t d, int kind, unsigned *n) {
    (void)kind; *n = 10501;
    return d->is_gb10 ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned *n) { *n = 400000; return d->is_gb10 ? NOT_SUPPORTED : SUCCESS; }
/* nvmlDeviceGetMaxPcieLinkWidth and nvmlDeviceGetMigMode are missing: an older driver. */
