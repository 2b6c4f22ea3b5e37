// The process in which somebody else's code runs. It knows nothing of seeds, answers or bounds.

#include "candidates/worker.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>

#include "candidates/channel.h"
#include "candidates/command_kernel.h"
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

DescribeAnswer describe(const ServedKernel& kernel, const Question& question) {
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
  const int status = kernel.describe(roomy.description);
  answer.description = roomy.description;
  const bool is_other_version = roomy.description.abi_version != RP_ABI_VERSION;  // which has a sentence of its own
  if (status == RP_OK || is_other_version) return answer;
  answer.refused = Refusal::kBadInput;
  const std::string why = kernel.last_error();
  answer.sentence = "rp_describe returned " + std::to_string(status) + (why.empty() ? "" : " (" + why + ")") +
                    "; it must return RP_OK for every dtype and direction it names";
  return answer;
}

CallAnswer call(const ServedKernel& kernel, const Question& question, MappedRegions& regions) {
  const CallQuestion& asked = question.call;
  CallAnswer answer;
  const rp_tensor q = regions.place(asked.q), k = regions.place(asked.k), v = regions.place(asked.v);
  rp_tensor out = regions.place(asked.out), lse{};
  if (asked.asks_lse) lse = regions.place(asked.lse);
  answer.status = kernel.forward(asked, q, k, v, out, asked.asks_lse ? &lse : nullptr);
  if (answer.status == RP_ERROR) answer.error = kernel.last_error();
  answer.touched = regions.take_touched();
  return answer;
}

std::string answer_to(const ServedKernel& kernel, const Message& message, Question& question, MappedRegions& regions) {
  try {
    read_question(message.line, question);
    if (question.kind == Question::Kind::kDescribe) return answer_line(describe(kernel, question));
    if (question.kind == Question::Kind::kForward) {
      regions.update(question.call, message.descriptors);
      return answer_line(call(kernel, question, regions));
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
  MappedRegions regions(kWorkerDescriptor);
  const ServedKernel kernel = name.starts_with(kCommandPrefix) ? command_kernel(name) : load_plugin(name);
  Question question;
  const auto waiting = [] {};
  for (;;) {
    const Message message = channel.receive(waiting);
    if (message.line.empty()) return;
    if (!channel.send(answer_to(kernel, message, question, regions), {}, waiting)) return;
  }
}

}  // namespace ringproof
