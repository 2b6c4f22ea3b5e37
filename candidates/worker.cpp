// The process in which somebody else's code runs. It knows nothing of seeds, answers or bounds.

#include "candidates/worker.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <memory>

#include "candidates/channel.h"
#include "candidates/command_kernel.h"
#include "candidates/device_call.h"
#include "candidates/mapped_regions.h"
#include "candidates/messages.h"
#include "candidates/plugin.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// Plug-ins built for a later version write a larger struct.
union RoomyDescription {
  rp_description description;
  char room[4096];
};

// What this process serves, and with what.
struct Service {
  ServedKernel kernel;
  MappedRegions regions;
  std::unique_ptr<DeviceCalls> device{};  // for a kernel that wants device memory
};

// Why a kernel that wants device memory cannot have it; "" where it can.
std::string device_refusal(Service& service) {
  if (!service.kernel.may_want_device) return "it wants device memory, which only plug-ins are handed";
  if (service.device == nullptr) service.device = std::make_unique<DeviceCalls>();
  const std::string& missing = service.device->missing();
  return missing.empty() ? "" : "it wants device memory, and " + missing;
}

DescribeAnswer describe(Service& service, const Question& question) {
  const ServedKernel& kernel = service.kernel;
  DescribeAnswer answer;
  answer.has_backward = kernel.has_backward;
  answer.sentence = kernel.not_served;
  if (!answer.sentence.empty()) {
    answer.refused = Refusal::kBadInput;
    return answer;
  }
  RoomyDescription roomy;
  std::memset(&roomy, 0, sizeof roomy);
  roomy.description.abi_version = RP_ABI_VERSION;
  roomy.description.dtype_asked = question.dtype;
  roomy.description.direction_asked = question.direction;
  int status = RP_ERROR;
  try {
    status = kernel.describe(roomy.description);
  } catch (const std::exception& error) {
    answer.refused = Refusal::kBadInput;
    answer.sentence = error.what();
    return answer;
  }
  answer.description = roomy.description;
  const bool is_other_version = roomy.description.abi_version != RP_ABI_VERSION;  // which has a sentence of its own
  const bool wants_device = (roomy.description.features & RP_WANTS_DEVICE_MEMORY) != 0;
  if (status == RP_OK && wants_device && !is_other_version) {
    answer.sentence = device_refusal(service);
    if (!answer.sentence.empty()) answer.refused = Refusal::kNotRun;
  }
  if (status == RP_OK || is_other_version) return answer;
  answer.refused = Refusal::kBadInput;
  const std::string why = kernel.last_error();
  answer.sentence = "rp_describe returned " + std::to_string(status) + (why.empty() ? "" : " (" + why + ")") +
                    "; it must return RP_OK for every dtype and direction it names";
  return answer;
}

// A fault of a kernel on a device shows when it is waited for, and nothing works in this process afterwards.
CallAnswer call_on_device(Service& service, const CallQuestion& asked) {
  CallAnswer answer;
  DeviceCalls& device = *service.device;
  try {
    device.begin(asked, service.regions);
    const rp_tensor q = device.place(asked.q), k = device.place(asked.k), v = device.place(asked.v);
    rp_tensor out = device.place(asked.out), lse{};
    if (asked.asks_lse) lse = device.place(asked.lse);
    answer.status = service.kernel.forward(asked, q, k, v, out, asked.asks_lse ? &lse : nullptr, device.stream());
    if (answer.status == RP_ERROR) answer.error = service.kernel.last_error();
    answer.faults = device.end();
  } catch (const Error& error) {
    answer.status = RP_ERROR;
    answer.error += (answer.error.empty() ? "" : "; ") + std::string(error.what());
    answer.is_spent = true;
  }
  return answer;
}

CallAnswer call(Service& service, const CallQuestion& asked) {
  if (service.device != nullptr) return call_on_device(service, asked);
  MappedRegions& regions = service.regions;
  CallAnswer answer;
  const rp_tensor q = regions.place(asked.q), k = regions.place(asked.k), v = regions.place(asked.v);
  rp_tensor out = regions.place(asked.out), lse{};
  if (asked.asks_lse) lse = regions.place(asked.lse);
  answer.status = service.kernel.forward(asked, q, k, v, out, asked.asks_lse ? &lse : nullptr, nullptr);
  if (answer.status == RP_ERROR) answer.error = service.kernel.last_error();
  answer.touched = regions.take_touched();
  return answer;
}

std::string answer_to(Service& service, const Message& message, Question& question) {
  try {
    read_question(message.line, question);
    if (question.kind == Question::Kind::kDescribe) return answer_line(describe(service, question));
    if (question.kind == Question::Kind::kForward) {
      service.regions.update(question.call, message.descriptors);
      return answer_line(call(service, question.call));
    }
    throw Error("this worker knows describe and forward only");
  } catch (const std::exception& error) {
    return answer_line(CallAnswer{RP_ERROR, error.what()});
  } catch (...) {
    return answer_line(CallAnswer{RP_ERROR, "the kernel threw something that is no std::exception"});
  }
}

}  // namespace

void serve_worker(const std::string& name) {
  struct stat kind {};
  if (fstat(kWorkerDescriptor, &kind) != 0 || !S_ISSOCK(kind.st_mode)) {
    throw InputError("ringproof worker is started by ringproof gate --candidate; descriptor 3 is no socket here");
  }
  Channel channel(kWorkerDescriptor);
  Service service{{}, MappedRegions(kWorkerDescriptor)};
  service.kernel = name.starts_with(kCommandPrefix) ? command_kernel(name) : load_plugin(name);
  Question question;
  const auto waiting = [] {};
  for (;;) {
    const Message message = channel.receive(waiting);
    if (message.line.empty()) return;
    if (!channel.send(answer_to(service, message, question), {}, waiting)) return;
  }
}

}  // namespace ringproof
