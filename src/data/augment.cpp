#include "data/augment.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "core/rng.h"

namespace sgdscope {
namespace {

/// One channel [height, width] of an image by one move: the numbers all shifted at once. What that
/// takes from one row into another is black.
template <class T>
void ShiftChannel(const T* in, int64_t height, int64_t width, int64_t down, int64_t right, T* out) {
  const int64_t size = height * width;
  const int64_t shift = down * width + right;
  const int64_t begin = std::clamp<int64_t>(-shift, 0, size);
  const int64_t end = std::clamp<int64_t>(size - shift, 0, size);
  std::fill_n(out, begin, T{0});
  if (begin < end) std::copy_n(in + begin + shift, end - begin, out + begin);
  std::fill_n(out + end, size - end, T{0});
  const int64_t first = right > 0 ? width - right : 0;
  for (int64_t x = first; x < first + std::abs(right); ++x) {
    for (int64_t y = 0; y < height; ++y) out[y * width + x] = T{0};
  }
}

/// MoveImages for the plain arrays of a CPU.
template <class T>
void MoveArrays(const at::Tensor& images, const at::Tensor& moves, at::Tensor& moved) {
  const int64_t height = images.size(2);
  const int64_t width = images.size(3);
  const at::Tensor mirrored = images.flip({3});
  const int64_t* move = moves.data_ptr<int64_t>();
  for (int64_t i = 0; i < images.size(0); ++i, move += 3) {
    for (int64_t c = 0; c < images.size(1); ++c) {
      const int64_t place = (i * images.size(1) + c) * height * width;
      ShiftChannel((move[0] == 1 ? mirrored : images).data_ptr<T>() + place, height, width, move[1],
                   move[2], moved.data_ptr<T>() + place);
    }
  }
}

}  // namespace

Examples Joined(const std::vector<Examples>& parts) {
  std::vector<at::Tensor> indices;
  std::vector<at::Tensor> moves;
  for (const Examples& part : parts) {
    indices.push_back(part.indices);
    if (part.moves.defined()) moves.push_back(part.moves);
  }
  return {at::cat(indices), moves.empty() ? at::Tensor() : at::cat(moves)};
}

void Augment::Fields(FieldVisitor& visitor) {
  visitor.Visit({.name = "pad",
                 .help = "black pixels around the image, out of which a window of the image's size "
                         "is cut at a random place; 0: no crops",
                 .unit = "pixels",
                 .paper = "implicit_regularization section 2.3 (the paper states no number)",
                 .min = 0,
                 .max = 1e6},
                pad);
  visitor.Visit({.name = "flip",
                 .help = "mirror each image left to right with probability 1/2",
                 .paper = "implicit_regularization section 2.3"},
                flip);
}

void Augment::Check(const std::vector<int64_t>& shape, const std::string& path) const {
  if (shape.size() != 3) {
    throw Error(ErrorKind::kConfig, path,
                "the examples of this data set have " + std::to_string(shape.size()) +
                    " dimensions, but crops and mirror images are for images of three: channels, "
                    "height, width",
                "Leave augment out, or choose a data set of images.");
  }
  if (pad == 0 && !flip) {
    throw Error(ErrorKind::kConfig, path, "pad is 0 and flip is false: nothing is augmented",
                "Leave augment out, or set one of them.");
  }
  const int64_t side = std::min(shape[1], shape[2]);
  if (pad < side) return;
  throw Error(ErrorKind::kConfig, path + ".pad",
              std::to_string(pad) + " pixels around images of " + std::to_string(shape[1]) + " x " +
                  std::to_string(shape[2]) + ": some windows would hold nothing but padding",
              "Set it below " + std::to_string(side) + ".");
}

at::Tensor Augment::MovesAt(uint64_t seed, int64_t step, int64_t n) const {
  Stream stream(seed, "augment", static_cast<uint64_t>(step));
  const int64_t places = 2 * pad + 1;  // in each direction
  const auto ways = static_cast<uint64_t>((flip ? 2 : 1) * places * places);
  at::Tensor moves = at::empty({n, 3}, at::kLong);
  int64_t* move = moves.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i, move += 3) {
    const auto way = static_cast<int64_t>(stream.Below(ways));
    move[0] = way / (places * places);
    move[1] = way / places % places - pad;
    move[2] = way % places - pad;
  }
  return moves;
}

at::Tensor MoveImages(const at::Tensor& images, const at::Tensor& moves) {
  if (!images.is_cpu()) return MoveImagesByIndex(images, moves);
  const at::Tensor in = images.contiguous();
  at::Tensor out = at::empty_like(in);
  if (in.scalar_type() == at::kByte) {
    MoveArrays<uint8_t>(in, moves, out);
  } else if (in.scalar_type() == at::kFloat) {
    MoveArrays<float>(in, moves, out);
  } else {
    MoveArrays<double>(in, moves, out);
  }
  return out;
}

at::Tensor MoveImagesByIndex(const at::Tensor& images, const at::Tensor& moves) {
  const int64_t n = images.size(0);
  const int64_t pad = n == 0 ? 0 : moves.narrow(1, 1, 2).abs().max().item<int64_t>();
  const at::Tensor here = moves.to(images.device(), /*non_blocking=*/true);
  const at::Tensor padded =
      at::constant_pad_nd(at::stack({images, images.flip({3})}), {pad, pad, pad, pad});
  // All windows of the images' size: [2, n, channels, 2 pad + 1, 2 pad + 1, height, width].
  const at::Tensor windows = padded.unfold(3, images.size(2), 1).unfold(4, images.size(3), 1);
  return at::index(windows, {here.select(1, 0),
                             at::arange(n, here.options()),
                             {},
                             here.select(1, 1).add(pad),
                             here.select(1, 2).add(pad)})
      .contiguous();
}

}  // namespace sgdscope
