// The graph is the one of cudnn-frontend's samples (samples/cpp/sdpa/fp16_fwd.cpp): one sdpa node, heuristic A, tensors
// by unique ids. Nothing of cuDNN is linked: cudnn-frontend asks the library behind `cudnn_dlhandle` for its functions,
// and CUDA's runtime by name.

#include "gpu/cudnn/attention.h"

#include <cuda_runtime_api.h>
#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <exception>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "gpu/cudnn_question.h"
#include "gpu/simt/cuda_check.h"
#include "reference/spec/error.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace ringproof {
namespace {

namespace fe = cudnn_frontend;

constexpr const char* kLibrary = "libcudnn.so.9";

enum Id : std::int64_t { kQ = 1, kK, kV, kOut, kStats };

/// The graph of one question, the plan cuDNN made for it, and the memory the plan needs.
class Plan {
 public:
  Plan(const CudnnQuestion& question, cudnnHandle_t handle) : question_(question) {
    describe();
    require(graph_.build(handle, {fe::HeurMode_t::A}), "building a plan");
    std::int64_t bytes = 0;
    require(graph_.get_workspace_size(bytes), "asking for the workspace");
    if (bytes > 0) simt::cuda::check(cudaMalloc(&workspace_, static_cast<std::size_t>(bytes)), "cudaMalloc");
  }
  ~Plan() { cudaFree(workspace_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const CudnnQuestion& question() const { return question_; }

  void start(const FlashParams& p, cudnnHandle_t handle) {
    std::unordered_map<std::int64_t, void*> places{{kQ, const_cast<void*>(p.q)},
                                                   {kK, const_cast<void*>(p.k)},
                                                   {kV, const_cast<void*>(p.v)},
                                                   {kOut, p.out},
                                                   {kStats, p.lse}};
    require(graph_.execute(handle, places, workspace_), "running the plan");
  }

 private:
  static void require(fe::error_t status, const std::string& what) {
    if (status.is_bad()) throw Error("cuDNN: " + what + ": " + status.get_message());
  }

  std::shared_ptr<fe::graph::Tensor_attributes> tensor(const char* name, Id id, const CudnnQuestion::Axes& dim,
                                                       const CudnnQuestion::Axes& stride) {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_uid(id)
                             .set_dim({dim.begin(), dim.end()})
                             .set_stride({stride.begin(), stride.end()}));
  }

  void describe() {
    const CudnnQuestion& q = question_;
    graph_.set_io_data_type(q.is_bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    auto attention =
        fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(true).set_attn_scale(q.scale);
    if (q.is_causal) {
      attention
          .set_diagonal_alignment(q.is_bottom_right ? fe::DiagonalAlignment_t::BOTTOM_RIGHT
                                                    : fe::DiagonalAlignment_t::TOP_LEFT)
          .set_diagonal_band_right_bound(0);
    }
    const auto [out, stats] = graph_.sdpa(tensor("q", kQ, q.q, q.q_stride), tensor("k", kK, q.k, q.k_stride),
                                          tensor("v", kV, q.v, q.v_stride), attention);
    const auto give_out = [](const auto& made, Id id, const auto& dim, const auto& stride) {
      made->set_output(true).set_uid(id).set_dim({dim.begin(), dim.end()}).set_stride({stride.begin(), stride.end()});
    };
    give_out(out, kOut, q.out, q.out_stride);
    give_out(stats, kStats, q.stats, q.stats_stride);
    stats->set_data_type(fe::DataType_t::FLOAT);
  }

  CudnnQuestion question_;
  fe::graph::Graph graph_;
  void* workspace_ = nullptr;
};

/// The handle and the plan of the latest question.
class Asker {
 public:
  ~Asker() {
    plan_.reset();
    if (handle_ != nullptr) fe::detail::destroy_handle(handle_);
  }
  void operator()(const FlashParams& params, void* stream) {
    if (const std::string reason = cudnn_not_asked_reason(params); !reason.empty()) {
      throw Error("cuDNN is not asked " + reason);
    }
    try {
      if (handle_ == nullptr) require(fe::detail::create_handle(&handle_), "cudnnCreate");
      require(fe::detail::set_stream(handle_, static_cast<cudaStream_t>(stream)), "cudnnSetStream");
      const CudnnQuestion question = cudnn_question_of(params);
      if (!plan_ || !(plan_->question() == question)) {
        plan_.reset();
        plan_.emplace(question, handle_);
      }
      plan_->start(params, handle_);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // a function that this libcudnn or CUDA runtime does not have
      throw Error(std::string("cuDNN: ") + error.what());
    }
  }

 private:
  static void require(cudnnStatus_t status, const char* call) {
    if (status != CUDNN_STATUS_SUCCESS) throw Error(std::string(call) + ": " + fe::detail::get_error_string(status));
  }

  cudnnHandle_t handle_ = nullptr;
  std::optional<Plan> plan_;
};

/// fp32 sums and probabilities in the storage dtype, as cuDNN documents its sdpa: the default Arithmetic.
template <Dtype kDtype>
Description describe() {
  Description description;
  description.dtypes = bit_of(kDtype);
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) | bit_of(MaskKind::kCausalBottomRight);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims;
  description.head_dim_multiple = 8;
  description.head_dim_max = 256;
  return description;
}

std::string version_text(std::size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

}  // namespace

CudnnAttention cudnn_attention(Dtype dtype) {
  const bool is_bf16 = dtype == Dtype::kBf16;
  CudnnAttention cudnn{{is_bf16 ? "cudnn_bf16" : "cudnn_fp16", dtype,
                        is_bf16 ? describe<Dtype::kBf16> : describe<Dtype::kF16>, nullptr, nullptr, nullptr},
                       "",
                       ""};
  if (fe::cudnn_dlhandle == nullptr) fe::cudnn_dlhandle = dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (fe::cudnn_dlhandle == nullptr) {
    cudnn.missing_reason = std::string("no cuDNN here (") + dlerror() + ")";
    return cudnn;
  }
  cudnn.version = version_text(fe::detail::get_backend_version());
  cudnn.kernel.on_cuda = [asker = std::make_shared<Asker>()](const FlashParams& params, void* stream) {
    (*asker)(params, stream);
  };
  return cudnn;
}

}  // namespace ringproof
