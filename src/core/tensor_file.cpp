#include "core/tensor_file.h"

#include <cstring>

#include "core/crc32.h"
#include "core/error.h"

namespace sgdscope {
namespace {

DType StoredType(at::ScalarType type) {
  switch (type) {
    case at::kByte:
      return DType::kUint8;
    case at::kLong:
      return DType::kInt64;
    case at::kFloat:
      return DType::kFloat32;
    case at::kDouble:
      return DType::kFloat64;
    default:
      throw Error(ErrorKind::kInternal, "safetensors",
                  std::string("no stored type for ") + at::toString(type));
  }
}

at::ScalarType TorchType(DType type) {
  switch (type) {
    case DType::kUint8:
      return at::kByte;
    case DType::kInt64:
      return at::kLong;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBfloat16:
      return at::kBFloat16;
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat64:
      return at::kDouble;
  }
  throw Error(ErrorKind::kInternal, "safetensors", "unknown stored type");
}

}  // namespace

void WriteTensorFile(const std::filesystem::path& path, const TensorFile& file) {
  std::map<std::string, at::Tensor> on_cpu;  // keeps the memory alive that the views look at
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : file.tensors) {
    const at::Tensor& plain = on_cpu[name] = tensor.detach().to(at::kCPU).contiguous();
    views[name] = {StoredType(plain.scalar_type()),
                   plain.sizes().vec(),
                   {static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()}};
  }
  WriteSafetensors(path, views, file.metadata);
}

TensorFile ReadTensorFile(const std::filesystem::path& path, WrittenBy by) {
  SafetensorsFile stored = ReadSafetensors(path, by);
  TensorFile file;
  file.checked = stored.checked;
  file.metadata = std::move(stored.metadata);
  for (const auto& [name, tensor] : stored.tensors) {
    const at::Tensor copy = at::empty(tensor.shape, TorchType(tensor.dtype));
    if (!tensor.bytes.empty()) std::memcpy(copy.data_ptr(), tensor.bytes.data(), copy.nbytes());
    file.tensors[name] = copy;
  }
  return file;
}

std::string ChecksumOf(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
  Crc32 checksum;
  checksum.Add({static_cast<const char*>(plain.data_ptr()), plain.nbytes()});
  return checksum.Hex();
}

}  // namespace sgdscope
