//! What its options choose among.

use conv_core::choice;

choice! {
    /// How a convolution is factored.
    Factors {
        /// 1 x 1 to few channels, `k x k` among few, 1 x 1 to all (arXiv 1511.06530).
        Tucker2 = "tucker2",
        /// `k x k` to few channels, 1 x 1 to all: the factors of a `C_out x (C_in k^2)` matrix (arXiv 1505.06798).
        Svd = "svd",
    }
}

choice! {
    /// What the factors begin with.
    Origin {
        /// Fresh values.
        Scratch = "scratch",
        /// The best factors of a trained vanilla convolution.
        Trained = "trained",
    }
}
