#pragma once

#include <string>

namespace ringproof {

/// Names the variable of the environment that names NCCL's library, where it is not among the system's.
inline constexpr const char* kNcclLibraryVariable = "RINGPROOF_NCCL_LIBRARY";

/// Why nothing can be exchanged over NCCL here ("no CUDA device", "no NCCL library", with what was tried); empty when
/// it can. Looks for the library when first called, so that the program starts without it; a function of NCCL that is
/// called before, or where it is missing, throws Error.
std::string nccl_missing_reason();

/// The library alone: empty when it is here and has every function that is called.
std::string nccl_library_missing_reason();

/// Its version, as "2.28.9"; "none" without it.
std::string nccl_version();

}  // namespace ringproof
