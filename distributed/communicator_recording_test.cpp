#include "distributed/communicator_recording.h"

#include <gtest/gtest.h>

#include "distributed/communicator_threads.h"

namespace ringproof {
namespace {

using Kind = Record::Kind;

TEST(RecordingCommunicator, WritesDownWhatWasAskedInItsOrderWithTheBytesOfThePayload) {
  std::atomic<std::int64_t> order = 0;
  std::vector<Record> records;
  bool computed = false;
  run_on_threads(1, kDeadlineDefault, [&](Communicator& inner) {
    RecordingCommunicator communicator(inner, order);
    const std::vector<std::byte> sent(24, std::byte{1});
    std::vector<std::byte> received(24);
    const Event arrived = communicator.exchange({{{0, sent, {0, 5, 0, 0}}}, {{0, received, {0, 5, 0, 0}}}}, {});
    communicator.compute({"local step", 4, {}, {}, [&](void*) { computed = true; }}, {});
    communicator.wait(arrived);
    communicator.barrier();
    EXPECT_EQ(received, sent);
    records = communicator.records();
  });
  EXPECT_TRUE(computed);
  const std::vector<std::pair<Kind, int>> want{{Kind::kExchangePosted, 5}, {Kind::kComputeBegun, 4},
                                               {Kind::kComputeEnded, 4},   {Kind::kWaitBegun, -1},
                                               {Kind::kWaitEnded, -1},     {Kind::kBarrier, -1}};
  ASSERT_EQ(records.size(), want.size());
  for (std::size_t index = 0; index < want.size(); ++index) {
    EXPECT_EQ(records[index].kind, want[index].first);
    EXPECT_EQ(records[index].step, want[index].second);
    EXPECT_EQ(records[index].order, static_cast<std::int64_t>(index));
  }
  EXPECT_EQ(records[0].bytes_sent, 24);
  EXPECT_EQ(records[0].bytes_received, 24);
  EXPECT_EQ(records[1].name, "local step");
}

}  // namespace
}  // namespace ringproof
