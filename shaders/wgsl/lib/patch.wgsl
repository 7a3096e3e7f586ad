// Four rows of op(a), or columns of op(b), at k, k + 1, k + 2 and k + 3.
struct Patch {
  k0: Quad,
  k1: Quad,
  k2: Quad,
  k3: Quad,
}

fn transposed(p: Patch) -> Patch {
  return Patch(
    Quad(p.k0.x, p.k1.x, p.k2.x, p.k3.x),
    Quad(p.k0.y, p.k1.y, p.k2.y, p.k3.y),
    Quad(p.k0.z, p.k1.z, p.k2.z, p.k3.z),
    Quad(p.k0.w, p.k1.w, p.k2.w, p.k3.w));
}
