//! Detections as code: rules in the Sigma format, and the windows in which correlations count their hits.

pub mod window;
