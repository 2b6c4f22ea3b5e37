#include "distributed/at_scale/ranks.h"

// SMPI finds it by name in this module.
extern "C" __attribute__((visibility("default"))) int main(int argc, char** argv) {
  return ringproof::run_simulated_rank(argc, argv, {});
}
