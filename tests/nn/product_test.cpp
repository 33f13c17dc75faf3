#include "nn/product.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <vector>

#include "core/rng.h"
#include "nn/add_multiple.h"
#include "tests/tensors.h"
#include "tests/threads.h"

namespace sgdscope {
namespace {

/// x [n, k], the matrix [k, m] as a part of `flat`, transposed or not, and an addend.
struct ProductCase {
  ProductCase(uint64_t index, at::ScalarType dtype) : stream(51, "product", index) {
    n = static_cast<int64_t>(1 + stream.Below(40));
    k = static_cast<int64_t>(1 + stream.Below(40));
    m = static_cast<int64_t>(1 + stream.Below(70));
    x = RandomTensor(stream, {n, k}, dtype);
    flat = RandomTensor(stream, {5 + k * m + m}, dtype);
    matrix =
        index % 2 == 0 ? Matrix::Piece(flat, 5, k, m) : Matrix::Piece(flat, 5, m, k).Transposed();
    row = Matrix::Piece(flat, 5 + k * m, 1, m);
    addend = index % 3 == 0 ? nullptr : &row;
    bound = 8 * static_cast<double>(k + 1) * Epsilon(dtype) * x.norm().item<double>() *
            flat.norm().item<double>();
  }
  at::Tensor Expected() const {
    const at::Tensor product = at::mm(x.to(at::kDouble), matrix.View().to(at::kDouble));
    return addend == nullptr ? product : product.add(row.View());
  }

  Stream stream;
  int64_t n, k, m;
  at::Tensor x, flat;
  Matrix matrix{}, row{};
  const Matrix* addend;
  double bound;
};

TEST(ProductOfTensors, IsTheSameWithAGraphAndWithout) {
  for (uint64_t index = 0; index < 60; ++index) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const ProductCase it(index, dtype);
      const at::Tensor plain = Times(it.x, it.matrix, it.addend);
      ExpectNear(ToVector(plain), ToVector(it.Expected()), it.bound, std::to_string(index));
      const at::Tensor x = it.x.detach().requires_grad_(true);
      const at::Tensor graph = Times(x, it.matrix, it.addend);
      EXPECT_TRUE(graph.requires_grad());
      EXPECT_TRUE(SameBits(graph, plain));

      const at::Tensor d = RandomTensor(const_cast<Stream&>(it.stream), {it.n, it.m}, dtype);
      const at::Tensor e = torch::autograd::grad({graph}, {x}, {d})[0];
      EXPECT_TRUE(SameBits(e, Times(d, it.matrix.Transposed())));
      ExpectNear(ToVector(e), ToVector(at::mm(d, it.matrix.View().t())),
                 it.bound * d.norm().item<double>(), std::to_string(index));

      at::Tensor z;
      const at::Tensor positive = PositiveTimes(it.x, it.matrix, it.addend, &z);
      EXPECT_TRUE(SameBits(z, plain));
      EXPECT_TRUE(SameBits(positive, at::relu(plain)));
      EXPECT_TRUE(SameBits(PositiveTimes(it.x, it.matrix, it.addend, nullptr), positive));
      EXPECT_TRUE(SameBits(MaskedTimes(d, it.matrix.Transposed(), it.x),
                           at::threshold_backward(e, it.x, 0)));
    }
  }
}

TEST(ProductOfTensors, IsDifferentiatedTwice) {
  const ProductCase it(1, at::kDouble);
  const at::Tensor x = it.x.detach().requires_grad_(true);
  const at::Tensor loss = Times(x, it.matrix, it.addend).pow(3).sum();
  const at::Tensor first = torch::autograd::grad({loss}, {x}, {}, true, true)[0];
  const at::Tensor second = torch::autograd::grad({first.pow(2).sum()}, {x})[0];
  const at::Tensor y = it.x.detach().requires_grad_(true);
  const at::Tensor by_aten = at::addmm(it.row.View(), y, it.matrix.View()).pow(3).sum();
  const at::Tensor first_by_aten = torch::autograd::grad({by_aten}, {y}, {}, true, true)[0];
  const at::Tensor expected = torch::autograd::grad({first_by_aten.pow(2).sum()}, {y})[0];
  ExpectNear(ToVector(second), ToVector(expected), 1e-12 * expected.norm().item<double>(), "");
}

TEST(ProductOfTensors, IsWrittenOrAdded) {
  for (uint64_t index = 0; index < 30; ++index) {
    const ProductCase it(index, at::kDouble);
    const at::Tensor flat = RandomTensor(const_cast<Stream&>(it.stream), {7 + it.n * it.m});
    const at::Tensor before = flat.clone();
    const Matrix out = Matrix::Piece(flat, 3, it.n, it.m);
    const at::Tensor product = at::mm(it.x, it.matrix.View());
    Multiply(Matrix::All(it.x), it.matrix, out, /*add=*/true);
    ExpectNear(ToVector(out.View()),
               ToVector(product.add(before.narrow(0, 3, it.n * it.m).view({it.n, it.m}))), it.bound,
               "");
    Multiply(Matrix::All(it.x), it.matrix, out);
    ExpectNear(ToVector(out.View()), ToVector(product), it.bound, "");
    EXPECT_TRUE(SameBits(flat.narrow(0, 0, 3), before.narrow(0, 0, 3)));
    EXPECT_TRUE(SameBits(flat.narrow(0, 3 + it.n * it.m, 4), before.narrow(0, 3 + it.n * it.m, 4)));
  }
}

TEST(ProductOfTensors, RowsAreSummed) {
  for (uint64_t index = 0; index < 30; ++index) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const ProductCase it(index, dtype);
      const at::Tensor flat = at::full({it.k + 5}, 777, it.x.options());
      SumRows(it.x, Matrix::Piece(flat, 2, 1, it.k));
      const at::Tensor expected = at::full({it.k + 5}, 777, at::kDouble);
      expected.narrow(0, 2, it.k).copy_(it.x.sum(0, /*keepdim=*/false, at::kDouble));
      ExpectNear(ToVector(flat), ToVector(expected), it.bound, std::to_string(index));
    }
  }
}

TEST(ProductOfTensors, MultiplesAreAddedAsFromAPlaceBetween) {
  for (uint64_t index = 0; index < 30; ++index) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      Stream stream(53, "multiples", index);
      const auto examples =
          static_cast<int64_t>(index % 5 == 0 ? 513 + index : 1 + stream.Below(40));
      const auto in = static_cast<int64_t>(1 + stream.Below(70));
      const auto out = static_cast<int64_t>(1 + stream.Below(70));
      const at::Tensor d = RandomTensor(stream, {examples, out}, dtype);
      const at::Tensor h = RandomTensor(stream, {examples, in}, dtype);
      const at::Tensor theta = RandomTensor(stream, {3 + (in + 1) * out + 2}, dtype);
      const double scale = -stream.Uniform();
      const at::Tensor g = at::zeros_like(theta), expected = theta.clone();
      const auto weights = [&](const at::Tensor& v) { return Matrix::Piece(v, 3, out, in); };
      const auto biases = [&](const at::Tensor& v) {
        return Matrix::Piece(v, 3 + in * out, 1, out);
      };
      Multiply(Matrix::All(d).Transposed(), Matrix::All(h), weights(g));
      SumRows(d, biases(g));
      AddMultiple(g, scale, expected);
      const double size = theta.norm().item<double>() + g.norm().item<double>();
      ExpectNear(ToVector(expected), ToVector(theta.to(at::kDouble).add(g, scale)),
                 Epsilon(dtype) * size, std::to_string(index));
      AddMultipleOfProduct(Matrix::All(d).Transposed(), Matrix::All(h), scale, weights(theta));
      AddMultipleOfRows(d, scale, biases(theta));
      EXPECT_TRUE(SameBits(theta, expected)) << index;
    }
  }
}

/// What the ways to put a product give of x [n, k], W [k, m] and d [n, m].
std::vector<at::Tensor> AllProducts(const at::Tensor& x, const at::Tensor& weights,
                                    const at::Tensor& d) {
  const Matrix w = Matrix::All(weights), of_d = Matrix::All(d);
  const at::Tensor row = d.narrow(0, 0, 1), by_w = weights.clone(), moved = weights.clone();
  const Matrix addend = Matrix::All(row);
  at::Tensor z;
  const at::Tensor positive = PositiveTimes(x, w, &addend, &z);
  const at::Tensor by_x = MaskedTimes(d, w.Transposed(), x);
  Multiply(Matrix::All(x).Transposed(), of_d, Matrix::All(by_w), /*add=*/true);
  AddMultipleOfProduct(Matrix::All(x).Transposed(), of_d, -0.1, Matrix::All(moved));
  return {Times(x, w), z, positive, by_x, by_w, moved};
}

/// By columns; by rows where there are few columns, and where a matrix is transposed.
TEST(ProductOfTensors, IsTheSameOnAnyNumberOfThreads) {
  uint64_t index = 0;
  for (const auto& [n, k, m] : std::vector<std::array<int64_t, 3>>{
           {100, 300, 500}, {501, 777, 10}, {130, 1031, 33}, {37, 2003, 70}, {700, 101, 300}}) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      Stream stream(52, "threads", index++);
      const at::Tensor x = RandomTensor(stream, {n, k}, dtype);
      const at::Tensor w = RandomTensor(stream, {k, m}, dtype);
      const at::Tensor d = RandomTensor(stream, {n, m}, dtype);
      const std::vector<at::Tensor> one = AllProducts(x, w, d);
      for (const int threads : {2, 3, 7}) {
        const auto several = OnThreads(threads, [&] { return AllProducts(x, w, d); });
        for (size_t i = 0; i < one.size(); ++i) {
          EXPECT_TRUE(SameBits(several[i], one[i])) << n << " " << k << " " << m << ", " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sgdscope
