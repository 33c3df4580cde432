//! Looking for the smallest plan that still fails.

use super::Plan;

/// A smaller plan.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The faults that are left.
    pub plan: Plan,
    /// Runs that it took.
    pub runs: usize,
}

/// Leaves faults out, halves first and then one by one, as long as `fails` holds for what is left
/// (delta debugging, Zeller and Hildebrandt 2002). `fails` holds for `plan`.
pub fn shrink(plan: &Plan, runs_max: usize, mut fails: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut plan = plan.clone();
    let mut runs = 0;
    let mut size = plan.len().div_ceil(2);
    while size > 0 && !plan.is_empty() && runs < runs_max {
        let mut at = 0;
        let mut smaller = false;
        while at < plan.len() && runs < runs_max {
            let mut without = plan.clone();
            without.drain(at..plan.len().min(at + size));
            runs += 1;
            if fails(&without) {
                plan = without;
                smaller = true;
            } else {
                at += size;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !smaller {
            break;
        }
    }
    Shrunk { plan, runs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Planned};

    #[test]
    fn what_the_failure_does_not_need_is_left_out() {
        let fault = |at_ms| Planned { at_ms, fault: Fault::Reset { node: 1 } };
        let plan: Plan = (0..40).map(fault).collect();
        let needed = [fault(3), fault(17), fault(39)];
        let shrunk = shrink(&plan, 1000, |plan| needed.iter().all(|f| plan.contains(f)));
        assert_eq!(shrunk.plan, needed);
        assert!(shrunk.runs < 120, "{}", shrunk.runs);
    }
}
