"""One honest experiment per claim: both arms real, interleaved, as ratios beside the physical limit."""
