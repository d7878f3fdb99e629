/* Moore Threads' management library with two boards, for the tests of its child program: an S80,
 * and an S4000 whose driver tells no power and no clock. FAKE_MTML=hang, abort or fail misbehaves
 * as drivers do; it always prints, as they do too. Signatures: mtml.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, DRIVER_NOT_LOADED = 1, INVALID_ARGUMENT = 3, NOT_SUPPORTED = 4 };

typedef struct { int number; } MtmlLibrary, MtmlDevice, MtmlGpu, MtmlMemory;
typedef struct {
    char sbdf[32];
    unsigned segment, bus, device, pciDeviceId, pciSubsystemId, busWidth;
    float pciMaxSpeed, pciCurSpeed;
    unsigned pciMaxWidth, pciCurWidth, pciMaxGen, pciCurGen;
    int rsvd[6];
} MtmlPciInfo;

static MtmlLibrary library;
static MtmlDevice boards[2] = {{0}, {1}};

int mtmlLibraryInit(MtmlLibrary **lib) {
    const char *mode = getenv("FAKE_MTML");
    printf("driver: hello\n");
    fflush(stdout);
    if (mode && !strcmp(mode, "hang")) sleep(60);
    if (mode && !strcmp(mode, "abort")) abort();
    if (mode && !strcmp(mode, "fail")) return DRIVER_NOT_LOADED;
    *lib = &library;
    return SUCCESS;
}
int mtmlLibraryCountDevice(const MtmlLibrary *lib, unsigned *count) {
    if (lib != &library) return INVALID_ARGUMENT;
    *count = 2;
    return SUCCESS;
}
int mtmlLibraryInitDeviceByIndex(const MtmlLibrary *lib, unsigned index, MtmlDevice **dev) {
    if (lib != &library || index > 1) return INVALID_ARGUMENT;
    *dev = &boards[index];
    return SUCCESS;
}
int mtmlDeviceGetName(const MtmlDevice *dev, char *name, unsigned length) {
    return snprintf(name, length, dev->number ? "MTT S4000" : "MTT S80") < 0;
}
int mtmlDeviceGetPciInfo(const MtmlDevice *dev, MtmlPciInfo *pci) {
    memset(pci, 0, sizeof *pci);
    strcpy(pci->sbdf, dev->number ? "00000000:C1:00.0" : "00000000:04:00.0");
    return SUCCESS;
}
int mtmlDeviceInitGpu(const MtmlDevice *dev, MtmlGpu **gpu) { *gpu = (MtmlGpu *)dev; return SUCCESS; }
int mtmlDeviceInitMemory(const MtmlDevice *dev, MtmlMemory **mem) { *mem = (MtmlMemory *)dev; return SUCCESS; }
int mtmlDeviceGetPowerUsage(const MtmlDevice *dev, unsigned *mw) { *mw = 96500; return dev->number ? NOT_SUPPORTED : SUCCESS; }
int mtmlGpuGetTemperature(const MtmlGpu *gpu, unsigned *celsius) { *celsius = 49 + gpu->number; return SUCCESS; }
int mtmlGpuGetUtilization(const MtmlGpu *gpu, unsigned *percent) { *percent = 37 + gpu->number; return SUCCESS; }
int mtmlMemoryGetTotal(const MtmlMemory *mem, unsigned long long *bytes) { *bytes = (mem->number ? 48ULL : 16ULL) << 30; return SUCCESS; }
int mtmlMemoryGetUsed(const MtmlMemory *mem, unsigned long long *bytes) { *bytes = mem->number ? 0 : 2ULL << 20; return SUCCESS; }
/* mtmlGpuGetClock is missing: an older library. */
