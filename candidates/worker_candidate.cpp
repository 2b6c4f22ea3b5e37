// A Candidate whose calls are questions to another process. Tensors are not copied: both sides map the same files, the
// worker what it may only read without the right to write. The worker declares once; a fresh process of the same kernel
// is held to what the first one said.

#include "candidates/worker_candidate.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "candidates/abi_twins.h"
#include "candidates/messages.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr double kFirstSecondsMin = 60;  // a process imports and compiles before its first answer

constexpr int kTimeOutsMax = 3, kEndsInARowMax = 20;

constexpr std::array kPythonPrefixes{"python:", "torch:", "jax:", "onnxruntime:", "mlx:", "flash_attn:"};

bool is_python(const std::string& name) {
  return std::any_of(kPythonPrefixes.begin(), kPythonPrefixes.end(),
                     [&](const char* prefix) { return name.starts_with(prefix); });
}

// Closes what was opened for one message.
struct OpenFiles {
  std::vector<int> descriptors;
  ~OpenFiles() {
    for (const int descriptor : descriptors) close(descriptor);
  }
};

class Worker {
 public:
  Worker(std::string name, const WorkerSetting& setting, WorkerSource source = {})
      : name_(std::move(name)), setting_(setting), source_(std::move(source)) {}

  void serve_at(int descriptor) {
    process_ = std::make_unique<WorkerProcess>(descriptor);
    is_foreign_ = true;
  }

  // What the first process says of everything there is to ask. `sentence` is why it cannot run here, or "".
  std::vector<std::string> describe_all(std::string& not_run) {
    start();
    for (const auto& [asked, answer] : said_) {
      if (answer.refused == Refusal::kBadInput)
        throw InputError(name_ + ": " + told(answer.sentence, answer.traceback));
      if (answer.refused == Refusal::kNotRun) {
        not_run = answer.sentence;
        return {};
      }
      descriptions_[asked] =
          checked_description(answer.description, static_cast<Dtype>(asked.first), answer.has_backward, name_);
    }
    const DescribeAnswer& all = said_.at({0, 0});
    if ((all.description.features & kWantsDeviceMemory) != 0 && is_python(name_)) {
      not_run = "it wants device memory, which only plug-ins are handed";
      return {};
    }
    std::vector<std::string> notes = all.notes;
    if (is_foreign_) notes.push_back("it runs in the process that called the command: a crash ends that process");
    if (all.description.name[0] != '\0') notes.push_back("it calls itself " + std::string(all.description.name));
    if (all.has_backward) notes.push_back("its backward is not run: this version judges the forward pass");
    return notes;
  }

  std::string own_name() const { return said_.at({0, 0}).description.name; }

  std::string said() const {
    std::string all;
    for (const auto& [asked, answer] : said_) all += answer_line(answer);
    return all;
  }

  void revive() {
    if (!given_up_.empty()) throw Error(given_up_);
    if (!is_alive()) restart();
  }

  void stop() { process_.reset(); }
  bool is_foreign() const { return is_foreign_; }

  Description describe(Dtype asked, Direction direction) const {
    const auto found = descriptions_.find({static_cast<int>(asked), direction == Direction::kForward ? 0 : 1});
    // A dtype it does not support: what it supports says so.
    return found != descriptions_.end() ? found->second : descriptions_.at({0, 0});
  }

  void share(const std::vector<SharedRegion>& regions) { regions_ = regions; }

  Status forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                 const TensorView& out, const TensorView* lse) {
    faults_.clear();
    revive();
    CallQuestion question = question_of(problem);
    question.q = sent(q);
    question.k = sent(k);
    question.v = sent(v);
    question.out = sent(out);
    question.asks_lse = lse != nullptr;
    if (lse != nullptr) question.lse = sent(*lse);
    OpenFiles files;
    name_regions(question, files);
    const CallAnswer answer = read_call_answer(ask(call_line(question), files.descriptors));
    if (answer.is_spent) process_.reset();
    faults_ = answer.faults;
    for (const Touch& touch : answer.touched) faults_.push_back("memory was read or written " + place_of(touch));
    if (answer.status == RP_ERROR)
      throw Error("returned an error" + (answer.error.empty() ? "" : ": " + told(answer.error, answer.traceback)));
    if (answer.status != RP_OK && answer.status != RP_UNSUPPORTED) {
      throw Error("returned " + std::to_string(answer.status) + ", which is no rp_status");
    }
    return static_cast<Status>(answer.status);
  }

  const std::vector<std::string>& faults() const { return faults_; }

 private:
  bool is_alive() const { return process_ != nullptr && process_->is_alive(); }

  void start() {
    if (source_) {
      process_ = source_();
    } else if (!is_foreign_) {
      process_ = std::make_unique<WorkerProcess>(worker_command(name_, setting_));
    }
    mapped_.clear();
    said_ = {};
    const DescribeAnswer& all = said_[{0, 0}] = describe_once(Dtype::kDefault, Direction::kForward);
    if (all.refused != Refusal::kNone) return;
    const std::uint32_t dtypes = all.description.dtypes & 0x7e, directions = all.description.directions;
    for (int dtype = 1; dtype < 7; ++dtype) {
      if ((dtypes >> dtype & 1u) == 0) continue;
      for (const int direction : {0, 1}) {
        if (direction == 1 && (directions & 2u) == 0) continue;
        said_[{dtype, direction}] = describe_once(static_cast<Dtype>(dtype), static_cast<Direction>(direction));
      }
    }
  }

  DescribeAnswer describe_once(Dtype dtype, Direction direction) {
    WorkerLimits patient = setting_.limits;
    patient.seconds = std::max(patient.seconds, kFirstSecondsMin);
    try {
      return read_describe_answer(process_->ask(describe_line(dtype, direction), {}, patient));
    } catch (const WorkerGone& gone) {
      const std::string phrase = gone.what();
      if (is_python(name_) && !is_foreign_ && phrase.find("exit code") != std::string::npos) {
        throw InputError(setting_.python + " does not serve " + name_ + " (it " + phrase +
                         "); install the package ringproof for it, or name another with RINGPROOF_PYTHON");
      }
      throw Error(name_ + " " + phrase + " while it was asked for its description");
    }
  }

  void restart() {
    if (is_foreign_) throw Error("the process that served the calls is gone");
    const auto first = std::move(said_);
    start();
    const auto is_same = [](const DescribeAnswer& one, const DescribeAnswer& other) {
      return answer_line(one) == answer_line(other);
    };
    const bool repeats =
        std::equal(first.begin(), first.end(), said_.begin(), said_.end(),
                   [&](const auto& a, const auto& b) { return a.first == b.first && is_same(a.second, b.second); });
    said_ = first;
    if (repeats) return;
    process_.reset();
    throw Error("a fresh process of it describes itself otherwise than the first one did");
  }

  std::string ask(const std::string& line, const std::vector<int>& descriptors) {
    try {
      const std::string answer = process_->ask(line, descriptors, setting_.limits);
      ends_in_a_row_ = 0;
      return answer;
    } catch (const WorkerGone& gone) {
      mapped_.clear();
      note_end(gone.is_time_out());
      throw Error(gone.what() + (gone.place() ? ", at memory " + place_of(*gone.place()) : ""));
    }
  }

  // Whoever hangs on every Case would cost the time limit for each, whoever dies on every one a start.
  void note_end(bool is_time_out) {
    const auto give_up = [&](int count, const char* kind) {
      given_up_ = "it is not called any more, after " + std::to_string(count) + " calls that " + kind;
    };
    time_outs_ += is_time_out;
    if (time_outs_ >= kTimeOutsMax) give_up(time_outs_, "ran out of time");
    if (++ends_in_a_row_ >= kEndsInARowMax) give_up(ends_in_a_row_, "ended its process, one after the other");
  }

  // "16 bytes behind the end of k"
  std::string place_of(const Touch& touch) const {
    for (const auto& [name, tensor] : tensors_) {
      if (tensor.region != touch.region) continue;
      const rp_tensor& t = tensor.tensor;
      std::int64_t span = 1;
      for (int axis = 0; axis < 4; ++axis) span += (t.shape[axis] - 1) * t.stride[axis];
      const std::int64_t bytes = span * static_cast<std::int64_t>(size_bytes(static_cast<Dtype>(t.dtype)));
      const std::int64_t inside = touch.offset - tensor.offset;
      if (inside < 0) return std::to_string(-inside) + " bytes in front of " + name;
      if (inside >= bytes) return std::to_string(inside - bytes) + " bytes behind the end of " + name;
      return std::string("of ") + name;
    }
    return "of the call";
  }

  CallQuestion question_of(const Problem& problem) {
    CallQuestion question;
    question.call = ++calls_;
    question.dtype = problem.dtype;
    question.problem = abi_problem(problem);
    const rp_problem& p = question.problem;
    if (p.sink != nullptr) question.sink.assign(p.sink, p.sink + p.heads_q);
    if (p.cu_seqlens_q != nullptr) question.cu_seqlens_q.assign(p.cu_seqlens_q, p.cu_seqlens_q + p.documents + 1);
    if (p.cu_seqlens_kv != nullptr) question.cu_seqlens_kv.assign(p.cu_seqlens_kv, p.cu_seqlens_kv + p.documents + 1);
    if (p.block_mask != nullptr) {
      const std::int64_t rows = (p.seqlen_q + p.block_q - 1) / p.block_q,
                         keys = (p.seqlen_kv + p.block_kv - 1) / p.block_kv;
      question.block_mask.assign(p.block_mask, p.block_mask + rows * keys);
    }
    tensors_.clear();
    return question;
  }

  SentTensor sent(const TensorView& view) {
    static constexpr const char* kNames[]{"the input q", "the input k", "the input v", "out", "lse"};
    SentTensor tensor;
    tensor.tensor = abi_tensor(view);
    tensor.tensor.data = nullptr;
    const auto* const data = static_cast<const std::byte*>(view.data);
    const auto holds = [&](const SharedRegion& region) {
      return data >= region.begin && data < region.begin + region.bytes;
    };
    const auto region = std::find_if(regions_.begin(), regions_.end(), holds);
    assert_that(region != regions_.end(), "a worker's tensors lie in shared memory");
    tensor.region = region->id;
    tensor.offset = data - region->begin;
    tensors_.emplace_back(kNames[tensors_.size()], tensor);
    return tensor;
  }

  // Regions that the worker has not got yet, and those that are gone. One with another closed tail is mapped anew.
  void name_regions(CallQuestion& question, OpenFiles& files) {
    std::map<std::uint64_t, std::size_t> now;
    for (const SharedRegion& region : regions_) now[region.id] = region.bytes_open;
    for (const auto& [id, bytes_open] : mapped_) {
      const auto found = now.find(id);
      if (found == now.end() || found->second != bytes_open) question.unmap.push_back(id);
    }
    for (const SharedRegion& region : regions_) {
      const auto found = mapped_.find(region.id);
      if (found != mapped_.end() && found->second == region.bytes_open) continue;
      // Opened anew, because the right to write belongs to the open file.
      const std::string path = "/proc/self/fd/" + std::to_string(region.descriptor);
      const int descriptor = open(path.c_str(), (region.is_output ? O_RDWR : O_RDONLY) | O_CLOEXEC);
      if (descriptor < 0) throw Error("the memory of a call cannot be opened anew for its worker");
      files.descriptors.push_back(descriptor);
      question.map.push_back({region.id, region.bytes, region.bytes_open, region.is_output});
    }
    mapped_ = std::move(now);
  }

  // A traceback is shown once.
  std::string told(const std::string& sentence, const std::string& traceback) {
    if (traceback.empty() || !tracebacks_.insert(traceback).second) return sentence;
    return sentence + "\n" + traceback;
  }

  using Asked = std::pair<int, int>;  // dtype and direction

  std::string name_;
  WorkerSetting setting_;
  WorkerSource source_;
  bool is_foreign_ = false;
  std::unique_ptr<WorkerProcess> process_;
  std::map<Asked, DescribeAnswer> said_;
  std::map<Asked, Description> descriptions_;
  std::vector<SharedRegion> regions_;            // of the coming call
  std::map<std::uint64_t, std::size_t> mapped_;  // by id: what the worker has, and how much of it is open
  std::vector<std::pair<const char*, SentTensor>> tensors_;
  std::vector<std::string> faults_;
  std::set<std::string> tracebacks_;
  std::uint64_t calls_ = 0;
  int time_outs_ = 0, ends_in_a_row_ = 0;
  std::string given_up_;
};

DescribedWorker candidate_of(const std::shared_ptr<Worker>& worker, std::string name) {
  DescribedWorker described;
  Candidate& candidate = described.candidate;
  described.notes = worker->describe_all(candidate.not_run_reason);
  candidate.name = !name.empty() ? std::move(name) : worker->own_name().empty() ? "caller" : worker->own_name();
  candidate.describe = [worker](Dtype asked, Direction direction) { return worker->describe(asked, direction); };
  candidate.forward = [worker](const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                               const TensorView& out, const TensorView* lse,
                               void*) { return worker->forward(problem, q, k, v, out, lse); };
  candidate.structure_faults = [worker] { return worker->faults(); };
  candidate.share = [worker](const std::vector<SharedRegion>& regions) { worker->share(regions); };
  if (!worker->is_foreign()) candidate.forget = [worker] { worker->stop(); };
  described.revive = [worker] { worker->revive(); };
  described.stop = [worker] { worker->stop(); };
  described.said = worker->said();
  return described;
}

}  // namespace

bool is_worker_name(const std::string& name) {
  return name.find('/') != std::string::npos || name.starts_with("cmd:") || is_python(name);
}

std::vector<std::string> worker_command(const std::string& name, const WorkerSetting& setting) {
  if (is_python(name)) return {setting.python, "-m", "ringproof.worker", name};
  return {setting.ringproof, "worker", name};
}

DescribedWorker worker_candidate(const std::string& name, const WorkerSetting& setting, const WorkerSource& source) {
  return candidate_of(std::make_shared<Worker>(name, setting, source), name);
}

DescribedWorker worker_candidate(int descriptor, const WorkerSetting& setting) {
  const auto worker = std::make_shared<Worker>("the caller", setting);
  worker->serve_at(descriptor);
  return candidate_of(worker, "");
}

}  // namespace ringproof
