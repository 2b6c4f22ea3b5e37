#include "reference/spec/real_inputs.h"

#include <cstdlib>
#include <filesystem>

#include "reference/spec/error.h"
#include "reference/spec/npy.h"

namespace ringproof {
namespace {

std::string file_of(const std::string& name, const char* tensor) {
  return data_folder() + "/real/" + name + "." + tensor + ".npy";
}

void validate_tensor(const NpyArray& array, const std::string& name, const char* tensor, const Shape& wanted) {
  if (array.type != "<f2" || array.shape.size() != 3) {
    throw InputError(file_of(name, tensor) + " does not hold fp16 [heads, tokens, head_dim]; restore it");
  }
  if (array.shape[0] != wanted[1] || array.shape[2] != wanted[3] || wanted[0] != 1) {
    throw InputError("real(" + name + ") has batch 1, " + std::to_string(array.shape[0]) + " heads and head dim " +
                     std::to_string(array.shape[2]) + " in " + tensor + "; write them into the shape");
  }
  if (wanted[2] > array.shape[1]) {
    throw InputError("real(" + name + ") holds " + std::to_string(array.shape[1]) + " tokens in " + tensor +
                     "; ask for at most as many, not " + std::to_string(wanted[2]));
  }
}

Tensor read_tensor(Dtype dtype, const std::string& name, const char* tensor, const Shape& shape) {
  const NpyArray array = read_npy(file_of(name, tensor));
  validate_tensor(array, name, tensor, shape);
  const Tensor result(dtype, shape);
  const TensorView to = result.view();
  for (std::int64_t h = 0; h < shape[1]; ++h) {
    for (std::int64_t s = 0; s < shape[2]; ++s) {
      for (std::int64_t d = 0; d < shape[3]; ++d) {
        const std::int64_t index = (h * array.shape[1] + s) * shape[3] + d;
        to.store(0, h, s, d, load(array.bytes.data() + 2 * index, Dtype::kF16));
      }
    }
  }
  return result;
}

}  // namespace

Inputs read_real_inputs(const Problem& problem, const std::string& name) {
  return {read_tensor(problem.dtype, name, "q", problem.shape_q()),
          read_tensor(problem.dtype, name, "k", problem.shape_k()),
          read_tensor(problem.dtype, name, "v", problem.shape_v())};
}

void validate_real_inputs(const Problem& problem, const std::string& name) {
  validate_tensor(read_npy(file_of(name, "q"), true), name, "q", problem.shape_q());
  validate_tensor(read_npy(file_of(name, "k"), true), name, "k", problem.shape_k());
  validate_tensor(read_npy(file_of(name, "v"), true), name, "v", problem.shape_v());
}

std::string data_folder() {
  if (const char* folder = std::getenv("RINGPROOF_DATA")) return folder;
  std::error_code failed;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto installed = executable.parent_path() / "../share/ringproof/data";
  if (!failed && std::filesystem::is_directory(installed, failed)) return installed.lexically_normal().string();
  return RINGPROOF_SOURCE_DATA;
}

}  // namespace ringproof
