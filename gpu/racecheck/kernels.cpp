// Adding a kernel to flash_kernels() adds it here.

#include "gpu/racecheck/kernels.h"

#include <algorithm>
#include <memory>

#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "reference/spec/error.h"
#include "reference/spec/layout.h"
#include "reference/spec/visibility.h"

namespace ringproof::racecheck {
namespace {

// Without direction and dtype. S = 256 stands in the middle of the list: the small ones show most dropped
// synchronisations sooner.
constexpr const char* kCases[] = {
    "b1.hq1.hkv1.sq70.skv100.dqk64.dv64/causal_bottom_right/scale0.125/gauss:1/bhsd/single",
    "b1.hq2.hkv1.sq40.skv200.dqk32.dv32/full/scale0.25/gauss:2/bshd/single",
    "b1.hq1.hkv1.sq1.skv300.dqk64.dv64/full/scale0.125/gauss:3/bhsd/single",
    "b1.hq1.hkv1.sq100.skv40.dqk64.dv64/causal_bottom_right/scale0.125/gauss:4/bhsd/single",
    "b1.hq1.hkv1.sq150.skv150.dqk64.dv64/window(40,7)/scale0.125/gauss:5/bhsd+dim2/single",
    "b1.hq1.hkv1.sq130.skv140.dqk64.dv64/document(5+60+65,7+70+63)+causal/scale0.125/gauss:6/bhsd/single",
    "b1.hq1.hkv1.sq130.skv200.dqk64.dv64/block_sparse(64x64,keep0.5:9)/scale0.125/gauss:7/bhsd/single",
    "b1.hq2.hkv1.sq70.skv100.dqk64.dv64/causal_top_left/scale0.125,softcap20,sink/gauss:8/bhsd/single",
    "b1.hq1.hkv1.sq64.skv130.dqk128.dv128/full/scale0.09/gauss:9/bhsd/single",
    "b1.hq1.hkv1.sq33.skv70.dqk192.dv128/full/scale0.07/gauss:10/bhsd/single",
    "b1.hq1.hkv1.sq33.skv70.dqk256.dv256/full/scale0.06/gauss:11/bhsd/single",
    "b1.hq1.hkv1.sq33.skv70.dqk96.dv40/full/scale0.1/gauss:12/bhsd/single",
    "b1.hq1.hkv1.sq256.skv256.dqk32.dv32/full/scale0.18/gauss:13/bhsd/single",
    "b1.hq2.hkv2.sq256.skv256.dqk64.dv64/causal_bottom_right/scale0.125/gauss:14/bhsd/single",
};

struct Memory {
  std::vector<std::byte> bytes;
  TensorView view;

  Memory(const ringproof::Memory& layout, TensorRole role, Dtype dtype, const Shape& shape) {
    const StridedLayout strided = lay_out(layout, role, shape);
    bytes.resize(static_cast<std::size_t>(strided.span) * size_bytes(dtype));
    view = {bytes.data(), dtype, -1, shape, strided.stride};
  }
};

/// A Case with its inputs, laid out.
struct Call {
  Case c;
  Inputs inputs;
  MaskTables tables;
  Memory q, k, v, out, lse;

  explicit Call(const Case& made_of)
      : c(made_of),
        inputs(make_inputs(c.problem, c.inputs, c.memory)),
        q(c.memory, TensorRole::kQ, c.problem.dtype, c.problem.shape_q()),
        k(c.memory, TensorRole::kK, c.problem.dtype, c.problem.shape_k()),
        v(c.memory, TensorRole::kV, c.problem.dtype, c.problem.shape_v()),
        out(c.memory, TensorRole::kOut, dtype_of_out(c.problem.dtype), c.problem.shape_out()),
        lse(c.memory, TensorRole::kLse, dtype_of_lse(c.problem.dtype), c.problem.shape_lse()) {
    copy_elements(inputs.q.view(), q.view);
    copy_elements(inputs.k.view(), k.view);
    copy_elements(inputs.v.view(), v.view);
    c.problem = with_data(c.problem, inputs);
    tables.hand_to(c.problem);
  }
};

void run(const FlashKernel& kernel, const Call& call, Watcher& watcher, simt::host::LaunchOptions& options) {
  const auto name = [&](const Memory& memory, const char* text) {
    watcher.name_memory(memory.bytes.data(), memory.bytes.size(), text);
  };
  name(call.q, "q");
  name(call.k, "k");
  name(call.v, "v");
  name(call.out, "out");
  name(call.lse, "lse");
  FlashParams params =
      make_flash_params(call.c.problem, call.q.view, call.k.view, call.v.view, call.out.view, &call.lse.view);
  std::vector<std::byte> workspace;
  if (kernel.workspace_bytes != nullptr) {
    workspace.resize(static_cast<std::size_t>(kernel.workspace_bytes(params)));
    params.workspace = workspace.data();
    watcher.name_memory(workspace.data(), workspace.size(), "workspace");
  }
  kernel.on_host(params, &options);
}

const FlashKernel& kernel_named(const std::string& name) {
  std::string known;
  for (const FlashKernel& kernel : flash_kernels()) {
    if (kernel.name == name) return kernel;
    known += (known.empty() ? "" : ", ") + std::string(kernel.name);
  }
  throw InputError("there is no kernel '" + name + "'; there are " + known);
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const FlashKernel& kernel : flash_kernels()) names.push_back(kernel.name);
  return names;
}

std::vector<Case> cases_of(const std::string& name) {
  const FlashKernel& kernel = kernel_named(name);
  std::vector<Case> cases;
  for (const char* line : kCases) {
    const Case c = parse_case("fwd/" + std::string(to_string(kernel.dtype)) + "/" + line);
    if (unsupported_reason(kernel.describe(), c.problem).empty()) cases.push_back(c);
  }
  return cases;
}

std::vector<Workload> workloads_of(const std::string& name, std::span<const Case> cases) {
  const FlashKernel& kernel = kernel_named(name);
  std::vector<Workload> workloads;
  for (const Case& c : cases) {
    const std::string reason = unsupported_reason(kernel.describe(), c.problem);
    if (!reason.empty()) throw InputError(name + " does not take " + reason + ": " + to_string(c));
    const auto call = std::make_shared<const Call>(c);
    workloads.push_back({to_string(c), [&kernel, call](Watcher& watcher, simt::host::LaunchOptions& options) {
                           run(kernel, *call, watcher, options);
                         }});
  }
  return workloads;
}

}  // namespace ringproof::racecheck
