#include "distributed/at_scale/files.h"

#include <fcntl.h>
#include <unistd.h>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : file_(open(path.c_str(), flags, 0600)), path_(path) {
    if (file_ < 0) throw Error("cannot open " + path);
  }
  ~Descriptor() { close(file_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // `move` is pread or pwrite, which may do a part.
  template <class Move, class Bytes>
  void move_all(const Move& move, Bytes* bytes, std::size_t count, std::int64_t offset) const {
    for (std::size_t done = 0; done < count;) {
      const ssize_t moved = move(file_, bytes + done, count - done, offset + static_cast<std::int64_t>(done));
      if (moved <= 0) throw Error(path_ + " is too short, or its disk is full");
      done += static_cast<std::size_t>(moved);
    }
  }

 private:
  int file_;
  std::string path_;
};

std::int64_t offset_of(const Problem& problem, int rank, Dtype dtype, Shape whole) {
  std::int64_t tokens = 0;
  for (int before = 0; before < rank; ++before) tokens += owned_token_count(problem.topology, before, whole[2]);
  whole[2] = tokens;
  return element_count(whole) * static_cast<std::int64_t>(size_bytes(dtype));
}

}  // namespace

Tensor RunFiles::shard(const Problem& problem, int rank, Dtype dtype, Shape whole) {
  whole[2] = owned_token_count(problem.topology, rank, whole[2]);
  return Tensor(dtype, whole);
}

void RunFiles::read(const std::string& name, const Problem& problem, int rank, const Shape& whole,
                    const Tensor& to) const {
  read(name, to.view().data, to.bytes().size(), offset_of(problem, rank, to.dtype(), whole));
}

void RunFiles::write(const std::string& name, const Problem& problem, int rank, const Shape& whole,
                     const Tensor& from) const {
  write(name, from.view().data, from.bytes().size(), offset_of(problem, rank, from.dtype(), whole));
}

void RunFiles::read(const std::string& name, void* bytes, std::size_t count, std::int64_t offset) const {
  Descriptor(path(name), O_RDONLY).move_all(pread, static_cast<char*>(bytes), count, offset);
}

void RunFiles::write(const std::string& name, const void* bytes, std::size_t count, std::int64_t offset) const {
  Descriptor(path(name), O_WRONLY | O_CREAT).move_all(pwrite, static_cast<const char*>(bytes), count, offset);
}

}  // namespace ringproof
