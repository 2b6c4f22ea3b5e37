#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "reference/spec/error.h"

namespace ringproof {

/// A transport under the contract suite. `with_deadline` gives its Launcher; a rank's body may run in another process,
/// so a test speaks through its Communicator and its own rank's expectations only.
struct ContractTransport {
  std::string name;
  std::vector<int> rank_counts;  ///< what tests of all sizes run at
  std::function<Launcher(std::chrono::milliseconds deadline)> with_deadline;
  bool copies = false;  ///< it holds copies of messages, for which gigabytes are too large
};

/// What every Communicator promises (communicator.h), one test per sentence, in communicator_contract_test.cpp. A
/// transport takes part by INSTANTIATE_TEST_SUITE_P.
class CommunicatorContract : public testing::TestWithParam<ContractTransport> {
 protected:
  static constexpr std::chrono::milliseconds kLong{60'000}, kShort{400};

  static void run(int rank_count, const std::function<void(Communicator&)>& body) {
    GetParam().with_deadline(kLong)(rank_count, body);
  }

  /// What the launcher throws; empty when it throws nothing.
  static std::string failure_of(int rank_count, std::chrono::milliseconds deadline,
                                const std::function<void(Communicator&)>& body) {
    try {
      GetParam().with_deadline(deadline)(rank_count, body);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

inline std::string name_of_transport(const testing::TestParamInfo<ContractTransport>& info) { return info.param.name; }

}  // namespace ringproof
