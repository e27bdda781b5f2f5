//! CompConv (CVPRW 2021).
