#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/safetensors.h"
#include "core/torch.h"

namespace sgdscope {

/// Tensors by name, with text beside them, in one safetensors file (core/safetensors.h).
struct TensorFile {
  std::map<std::string, at::Tensor> tensors;  // on the CPU after reading
  std::map<std::string, std::string> metadata;
  bool checked = true;  // by a checksum, after reading
};

/// Writes atomically; tensors may lie on any device and need not be contiguous. uint8, int64,
/// float32 and float64 only.
void WriteTensorFile(const std::filesystem::path& path, const TensorFile& file);

/// Reads and checks the file; errors as of ReadSafetensors.
TensorFile ReadTensorFile(const std::filesystem::path& path, WrittenBy by = WrittenBy::kUs);

/// The CRC-32 of a tensor's numbers as a file holds them, eight digits.
std::string ChecksumOf(const at::Tensor& tensor);

}  // namespace sgdscope
