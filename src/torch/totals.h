// Losses of several batches together.
#ifndef CSM_TORCH_TOTALS_H_
#define CSM_TORCH_TOTALS_H_

#include <array>
#include <cstdint>

#include "torch/modules.h"
#include "torch/processes.h"

namespace csm::train {

struct Totals {
  double backbone = 0, depth_decoder = 0;  ///< sums of cross-entropies
  int64_t num_backbone = 0, num_depth_decoder = 0;
  double attention = 0;  ///< sum over codes 0; 0 where attention is not guided

  void Add(const Totals& more) {
    backbone += more.backbone;
    depth_decoder += more.depth_decoder;
    num_backbone += more.num_backbone;
    num_depth_decoder += more.num_depth_decoder;
    attention += more.attention;
  }
  void Add(const LossSums& sums) {
    Add(Totals{sums.backbone.item<double>(), sums.depth_decoder.item<double>(), sums.num_backbone,
               sums.num_depth_decoder,
               sums.attention.defined() ? sums.attention.item<double>() : 0.0});
  }
  /// Those of all processes.
  void SumOver(Processes& processes) {
    std::array<double, 5> values = {backbone, depth_decoder, static_cast<double>(num_backbone),
                                    static_cast<double>(num_depth_decoder), attention};
    processes.Sum(values);
    *this = {values[0], values[1], static_cast<int64_t>(values[2]), static_cast<int64_t>(values[3]),
             values[4]};
  }
  double BackboneLoss() const { return backbone / static_cast<double>(num_backbone); }
  double DepthDecoderLoss() const { return depth_decoder / static_cast<double>(num_depth_decoder); }
  double AttentionLoss() const { return attention / static_cast<double>(num_backbone); }
  double Loss() const { return BackboneLoss() + DepthDecoderLoss(); }
};

}  // namespace csm::train

#endif  // CSM_TORCH_TOTALS_H_
