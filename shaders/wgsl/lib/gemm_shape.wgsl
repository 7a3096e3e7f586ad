// What a product is, for all forms of it: see lib/gemm.wgsl.
override M: u32;
override N: u32;
override K: u32;
override TRANS_A: bool;
override TRANS_B: bool;
override ACCUMULATE: bool;
override SPLIT: u32;
override ITEMS: u32 = 1u;
override ITEM_A: u32 = 0u;
override ITEM_B: u32 = 0u;
override ITEM_OUT: u32 = M * N;

var<private> product: u32; // which of ITEMS
