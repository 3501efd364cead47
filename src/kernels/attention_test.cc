#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernel_test.h"

namespace csm::kernels {
namespace {

using AttentionTest = KernelTest;
INSTANTIATE_KERNEL_TEST(AttentionTest);

// Keys and values of `num_positions`, and one query per row.
struct Sequence {
  Sequence(const AttentionShape& s, size_t num_rows, size_t num_positions, uint32_t seed,
           float query_scale = 1.0f)
      : shape(s),
        queries(Random(seed).Normals(num_rows * s.num_heads * s.head_dim)),
        keys(Random(seed + 1).Normals(Extent(num_positions))),
        values(Random(seed + 2).Normals(Extent(num_positions))),
        outputs(num_rows * s.num_heads * s.head_dim, NAN) {
    for (float& q : queries) q *= query_scale;
  }
  // The last position ends with its last element, not with its stride.
  size_t Extent(size_t num_positions) const {
    return (num_positions - 1) * shape.kv_stride + shape.num_kv_heads * shape.head_dim;
  }
  AttentionRow Row(size_t r, size_t first, size_t num_keys) {
    const size_t at = r * shape.num_heads * shape.head_dim;
    return {queries.data() + at, keys.data() + first * shape.kv_stride,
            values.data() + first * shape.kv_stride, num_keys, outputs.data() + at};
  }

  AttentionShape shape;
  std::vector<float> queries, keys, values, outputs;
};

// Outputs are means of values of size about 1. The scores, of size |q| |k| / sqrt(head_dim), are
// sums of head_dim products; an error in a score is a relative error of its weight, and so is the
// rounding of the sums of num_keys weights.
double Bound(const Sequence& s, double query_scale) {
  const double n = static_cast<double>(s.shape.head_dim);
  const double score_error = 0x1p-24 * (n + 8) * std::sqrt(n) * query_scale;
  return 4 * (2 * score_error + 128 * 0x1p-24);
}

void ExpectNearReference(const AttentionShape& shape, size_t num_keys, float query_scale,
                         ThreadPool& pool) {
  Sequence s(shape, 1, num_keys, static_cast<uint32_t>(num_keys), query_scale);
  const AttentionRow row = s.Row(0, 0, num_keys);
  AttentionReference(row, shape);
  const std::vector<float> expected = s.outputs;
  std::fill(s.outputs.begin(), s.outputs.end(), NAN);
  Attention({&row, 1}, shape, pool);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(s.outputs[i], expected[i], Bound(s, query_scale))
        << "head_dim " << shape.head_dim << ", keys " << num_keys << ", element " << i;
  }
}

TEST_P(AttentionTest, EqualsReference) {
  ThreadPool pool(2);
  for (const size_t head_dim : {1, 10, 12, 64, 100, 128}) {
    for (const size_t num_keys : {1, 2, 3, 4, 5, 17, 33, 250, 255, 256, 257, 600}) {
      ExpectNearReference({8, 2, head_dim, 2 * head_dim + 5}, num_keys, 1.0f, pool);
      ExpectNearReference({3, 1, head_dim, head_dim}, num_keys, 3.0f, pool);
      ExpectNearReference({2, 2, head_dim, 2 * head_dim}, num_keys, 1.0f, pool);
    }
  }
  ExpectNearReference({4, 1, 64, 64}, 5000, 1.0f, pool);
}

TEST_P(AttentionTest, LargeScoresDoNotOverflow) {
  ThreadPool pool(1);
  const AttentionShape shape = {2, 1, 16, 16};
  Sequence s(shape, 1, 700, 1, 1e4f);
  const AttentionRow row = s.Row(0, 0, 700);
  Attention({&row, 1}, shape, pool);
  const std::vector<float> y = s.outputs;
  AttentionReference(row, shape);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], s.outputs[i], 0.05);
}

// The promise of attention.h: other rows, threads and the place of the keys change no bit.
TEST_P(AttentionTest, BitsDependOnTheRowAlone) {
  ThreadPool three(3);
  ThreadPool one(1);
  for (const AttentionShape& shape : {AttentionShape{6, 2, 20, 47}, AttentionShape{4, 1, 130, 130},
                                      AttentionShape{7, 1, 128, 144}}) {
    constexpr size_t kRows = 60;
    Sequence s(shape, kRows, 150 + kRows, 9);
    std::vector<AttentionRow> rows;
    for (size_t r = 0; r < kRows; ++r) {  // a prefill, then windows that begin anywhere
      const size_t first = r >= 40 && r % 3 == 0 ? r : 0;
      rows.push_back(s.Row(r, first, 100 + r - first));
    }
    Attention(rows, shape, three);
    const std::vector<float> together = s.outputs;
    std::fill(s.outputs.begin(), s.outputs.end(), NAN);
    for (const AttentionRow& row : rows) Attention({&row, 1}, shape, one);
    ASSERT_EQ(Bits(together), Bits(s.outputs));
    for (const AttentionRow& row : rows) AttentionReference(row, shape);
    for (size_t i = 0; i < together.size(); ++i) {
      ASSERT_NEAR(together[i], s.outputs[i], Bound(s, 1.0));
    }
  }
}

TEST_P(AttentionTest, BitsDoNotDependOnAlignment) {
  ThreadPool pool(1);
  const AttentionShape shape = {6, 2, 20, 47};
  Sequence s(shape, 1, 261, 9);
  const AttentionRow row = s.Row(0, 0, 261);
  Attention({&row, 1}, shape, pool);
  std::vector<float> keys = s.keys, values = s.values, output(s.outputs.size());
  keys.insert(keys.begin(), 0.0f);
  values.insert(values.begin(), 3, 0.0f);
  AttentionRow moved = row;
  moved.keys = keys.data() + 1;
  moved.values = values.data() + 3;
  moved.output = output.data();
  Attention({&moved, 1}, shape, pool);
  EXPECT_EQ(Bits(s.outputs), Bits(output));
}

TEST_P(AttentionTest, NoRowsIsNoWork) {
  ThreadPool pool(2);
  Attention({}, {2, 1, 8, 8}, pool);
}

}  // namespace
}  // namespace csm::kernels
