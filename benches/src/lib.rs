//! Measurements of kvnode beside other stores.
