//! Tables and plots from result files; never trains.
