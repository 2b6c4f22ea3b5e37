// Folders of one call each: nothing that a command left can be taken for the answer of the next.

#include "candidates/command_kernel.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "candidates/call_folders.h"
#include "reference/spec/error.h"
#include "reference/spec/npy.h"
#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

constexpr int kExitRefused = 77;  // no interpreter ends so by itself

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw Error(path.string() + " cannot be written; give its disk more space");
}

const char* npy_type(int dtype) {
  switch (dtype) {
    case RP_F64: return "<f8";
    case RP_F32: return "<f4";
    case RP_F16: return "<f2";
    case RP_BF16: return "<u2";
    default: return "|u1";
  }
}

TensorView view_of(const rp_tensor& tensor) {
  TensorView view{tensor.data, static_cast<Dtype>(tensor.dtype), -1, {}, {}};
  std::copy(std::begin(tensor.shape), std::end(tensor.shape), view.shape.begin());
  std::copy(std::begin(tensor.stride), std::end(tensor.stride), view.stride.begin());
  return view;
}

void write_npy(const fs::path& path, const rp_tensor& tensor) {
  const TensorView from = view_of(tensor);
  const Tensor dense(from.dtype, from.shape);
  copy_elements(from, dense.view());
  std::ostringstream text;
  text << "{'descr': '" << npy_type(tensor.dtype) << "', 'fortran_order': False, 'shape': (" << from.shape[0] << ", "
       << from.shape[1] << ", " << from.shape[2] << ", " << from.shape[3] << "), }";
  std::string header = text.str();
  header.append(64 - (11 + header.size()) % 64, ' ');
  header += '\n';
  const char start[]{'\x93',
                     'N',
                     'U',
                     'M',
                     'P',
                     'Y',
                     1,
                     0,
                     static_cast<char>(header.size() & 0xff),
                     static_cast<char>(header.size() >> 8)};
  write_file(path, std::string(start, sizeof start) + header +
                       std::string(reinterpret_cast<const char*>(dense.bytes().data()), dense.bytes().size()));
}

std::string words_of(const std::vector<std::int64_t>& shape) {
  std::string words;
  for (const std::int64_t extent : shape) words += (words.empty() ? "" : ", ") + std::to_string(extent);
  return "(" + words + ")";
}

// lse may come with three axes or four.
void read_result(const fs::path& path, const rp_tensor& tensor) {
  const NpyArray array = read_npy(path.string());
  const TensorView to = view_of(tensor);
  const std::string name = path.filename().string(), type = npy_type(tensor.dtype);
  std::vector<std::int64_t> want(to.shape.begin(), to.shape.end());
  if (array.shape.size() == 3 && want[3] == 1) want.pop_back();
  if (array.type != type && !(type == "|u1" && array.type == "<u1")) {
    throw Error(name + " holds " + array.type + ", wanted " + type);
  }
  if (array.shape != want) throw Error(name + " has shape " + words_of(array.shape) + ", wanted " + words_of(want));
  if (array.bytes.empty()) return;
  const TensorView from{const_cast<std::byte*>(array.bytes.data()), to.dtype, -1, to.shape, dense_strides(to.shape)};
  copy_elements(from, to);
}

// Its exit code; negative: the signal that ended it.
int run_command(std::string command, const CallFolders& folders) {
  for (const auto& [mark, folder] : {std::pair("{in}", folders.in()), std::pair("{out}", folders.out())}) {
    for (std::size_t at = command.find(mark); at != std::string::npos; at = command.find(mark, at)) {
      command.replace(at, std::strlen(mark), folder.string());
    }
  }
  const pid_t pid = fork();
  if (pid < 0) throw Error(std::string("a process for the command cannot be started: ") + std::strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(kWorkerDescriptor);
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int describe(const std::string& command, rp_description& description) {
  const CallFolders folders;
  write_file(folders.in() / "problem.json",
             "{\"ask\": \"describe\", \"dtype\": " + std::to_string(description.dtype_asked) +
                 ", \"direction\": " + std::to_string(description.direction_asked) + "}\n");
  const int code = run_command(command, folders);
  if (code == 126 || code == 127) throw Error("the shell cannot run it; check the path, and that it may be executed");
  std::ifstream file(folders.out() / "description.json");
  if (file) {
    std::stringstream text;
    text << file.rdbuf();
    std::string line = text.str();
    std::replace(line.begin(), line.end(), '\n', ' ');
    description = read_description(line);
    return RP_OK;
  }
  description.dtypes = 1u << RP_F32;
  description.masks = 1u << RP_MASK_FULL;
  return RP_OK;
}

int forward(const std::string& command, const CallQuestion& asked, const rp_tensor& q, const rp_tensor& k,
            const rp_tensor& v, const rp_tensor& out, const rp_tensor* lse) {
  const CallFolders folders;
  write_file(folders.in() / "problem.json", problem_text(asked));
  write_npy(folders.in() / "q.npy", q);
  write_npy(folders.in() / "k.npy", k);
  write_npy(folders.in() / "v.npy", v);
  const int code = run_command(command, folders);
  if (code == kExitRefused) return RP_UNSUPPORTED;
  if (code < 0) throw Error("the command was ended by signal " + std::to_string(-code));
  if (code != 0) throw Error("the command exited with code " + std::to_string(code));
  for (const auto& [name, tensor] : {std::pair("out.npy", &out), std::pair("lse.npy", lse)}) {
    if (tensor == nullptr) continue;
    if (!fs::exists(folders.out() / name)) throw Error(std::string("the command left no ") + name + " in {out}");
    read_result(folders.out() / name, *tensor);
  }
  return RP_OK;
}

}  // namespace

ServedKernel command_kernel(const std::string& name) {
  const std::string command = name.substr(std::strlen(kCommandPrefix));
  ServedKernel kernel;
  if (command.find("{in}") == std::string::npos || command.find("{out}") == std::string::npos) {
    kernel.not_served = "the command must name {in} and {out}, the folders of inputs and outputs";
    return kernel;
  }
  const auto error = std::make_shared<std::string>();
  const auto guarded = [error](const auto& work) {
    try {
      return work();
    } catch (const std::exception& failure) {
      *error = failure.what();
      return static_cast<int>(RP_ERROR);
    }
  };
  kernel.describe = [command](rp_description& description) { return describe(command, description); };
  kernel.forward = [command, guarded](const CallQuestion& asked, const rp_tensor& q, const rp_tensor& k,
                                      const rp_tensor& v, rp_tensor& out, rp_tensor* lse, void*) {
    return guarded([&] { return forward(command, asked, q, k, v, out, lse); });
  };
  kernel.last_error = [error] { return *error; };
  return kernel;
}

}  // namespace ringproof
