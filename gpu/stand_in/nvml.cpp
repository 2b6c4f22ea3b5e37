// A shared object in NVML's place. The clock it tells goes through a list, which a test sets through the environment:
// RINGPROOF_STAND_IN_CLOCKS=345,1980 tells 345 once and 1980 from then on. No list: NVML does not start.

#include <cstdlib>
#include <cstring>

namespace {

int device;
const char* next = nullptr;

unsigned tell() {
  const unsigned mhz = static_cast<unsigned>(std::atoi(next));
  if (const char* const comma = std::strchr(next, ',')) next = comma + 1;
  return mhz;
}

}  // namespace

extern "C" {
int nvmlInit_v2() {
  next = std::getenv("RINGPROOF_STAND_IN_CLOCKS");
  return next == nullptr ? 999 : 0;
}
int nvmlShutdown() { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* place, void** found) {
  *found = &device;
  return std::strcmp(place, "0000:01:00.0") == 0 ? 0 : 6;
}
int nvmlDeviceGetClockInfo(void*, int type, unsigned* mhz) {
  if (type != 1) return 2;
  *mhz = tell();
  return 0;
}
int nvmlDeviceGetDefaultApplicationsClock(void*, int, unsigned*) { return 3; }  // as newer drivers
int nvmlDeviceGetMaxClockInfo(void*, int, unsigned* mhz) {
  *mhz = 2000;
  return 0;
}
}
