#include "core/random_vectors.h"

#include <gtest/gtest.h>

namespace sgdscope {
namespace {

/// An odd number leaves half a pair behind.
TEST(Normals, AreThoseOfTheStream) {
  for (const int64_t size : {0, 1, 2, 7, 1000}) {
    Stream at_once(3, "normals", 4);
    Stream one_by_one(3, "normals", 4);
    const at::Tensor normals = Normals(at_once, size);
    ASSERT_EQ(normals.numel(), size);
    // A radius of at most 9 times a cosine whose angle of up to 2 pi is rounded.
    for (int64_t i = 0; i < size; ++i) {
      EXPECT_NEAR(normals[i].item<double>(), one_by_one.Normal(), 9 * 8 * 2.3e-16) << i;
    }
    if (size % 2 == 1) one_by_one.Normal();
    EXPECT_EQ(at_once.Bits32(), one_by_one.Bits32());
  }
}

}  // namespace
}  // namespace sgdscope
