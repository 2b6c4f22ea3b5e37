// The words in which every transport speaks of a transfer, and of how a rank ended.

#include "distributed/transfer_words.h"

namespace ringproof {

std::string words(const TransferHeader& header, std::size_t bytes) {
  return "block " + std::to_string(header.block) + " part " + std::to_string(header.part) + " of step " +
         std::to_string(header.step) + " (case " + std::to_string(header.case_id) + ", " + std::to_string(bytes) +
         " bytes)";
}

std::string words(const TransferHeader& header, std::size_t bytes, bool is_send, int peer) {
  return words(header, bytes) + (is_send ? " to rank " : " from rank ") + std::to_string(peer);
}

std::string place(int rank, int step) {
  return "rank " + std::to_string(rank) + (step < 0 ? "" : ", step " + std::to_string(step)) + ": ";
}

BodyEnd run_body(Communicator& communicator, const std::function<void(Communicator&)>& body) {
  std::string thrown;
  try {
    body(communicator);
    return {false, ""};
  } catch (const GroupFailed&) {
    return {true, ""};
  } catch (const std::exception& error) {
    thrown = *error.what() == '\0' ? "an exception without words" : error.what();
  } catch (...) {
    thrown = "an exception of unknown type";
  }
  const std::string name = "rank " + std::to_string(communicator.rank());
  return {false, thrown.starts_with(name) ? thrown : name + ": " + thrown};
}

}  // namespace ringproof
