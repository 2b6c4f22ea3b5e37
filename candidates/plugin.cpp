#include "candidates/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstring>

namespace ringproof {
namespace {

using PluginDescribe = int (*)(rp_description*);
using PluginForward = int (*)(const rp_problem*, const rp_tensor*, const rp_tensor*, const rp_tensor*, rp_tensor*,
                              rp_tensor*, void*);
using PluginLastError = const char* (*)();

ServedKernel refused(const std::string& sentence) {
  ServedKernel kernel;
  kernel.not_served = sentence;
  return kernel;
}

}  // namespace

ServedKernel load_plugin(const std::string& path) {
  if (access(path.c_str(), R_OK) != 0) {
    return refused("there is no such file, or it cannot be read (" + std::string(std::strerror(errno)) + ")");
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = dlerror();
    return refused("it cannot be loaded as a shared library (" + std::string(why == nullptr ? "" : why) +
                   "); build it with -shared -fPIC");
  }
  const auto describe = reinterpret_cast<PluginDescribe>(dlsym(library, "rp_describe"));
  const auto forward = reinterpret_cast<PluginForward>(dlsym(library, "rp_forward"));
  if (describe == nullptr || forward == nullptr) {
    return refused(std::string("it exports no ") + (describe == nullptr ? "rp_describe" : "rp_forward") +
                   "; define it as candidate_abi.h declares it, extern \"C\" in C++");
  }
  const auto last_error = reinterpret_cast<PluginLastError>(dlsym(library, "rp_last_error"));
  ServedKernel kernel;
  kernel.describe = [describe](rp_description& description) { return describe(&description); };
  kernel.forward = [forward](const CallQuestion& asked, const rp_tensor& q, const rp_tensor& k, const rp_tensor& v,
                             rp_tensor& out, rp_tensor* lse,
                             void* stream) { return forward(&asked.problem, &q, &k, &v, &out, lse, stream); };
  kernel.may_want_device = true;
  kernel.last_error = [last_error] {
    const char* const words = last_error == nullptr ? nullptr : last_error();
    return std::string(words == nullptr ? "" : words);
  };
  kernel.has_backward = dlsym(library, "rp_backward") != nullptr;
  return kernel;
}

}  // namespace ringproof
