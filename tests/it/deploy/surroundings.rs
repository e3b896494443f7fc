//! What is warned of around a service.

use steadystate::config::{LoadBalancerType, Selector};
use steadystate::deploy::surroundings::closed;

#[test]
fn security_groups_that_let_nothing_in() {
    use LoadBalancerType::{Application, Network};
    let named = Selector::Ids(vec!["sg-1".into()]);
    let default = Selector::Default;
    let lets_nobody_in = Some("nothing outside reaches it");
    let tasks_refuse = Some("they refuse the new load balancer");
    for (kind, balancer, tasks, expected) in [
        (Application, &default, Some(&default), lets_nobody_in),
        (Application, &default, Some(&named), lets_nobody_in),
        // Tasks on instances: whose group it is, nobody said.
        (Application, &default, None, lets_nobody_in),
        (Application, &named, Some(&default), tasks_refuse),
        (Application, &named, Some(&named), None),
        (Application, &named, None, None),
        // Without any group of its own it admits everybody.
        (Network, &default, Some(&default), tasks_refuse),
        (Network, &named, Some(&default), tasks_refuse),
        (Network, &default, Some(&named), None),
        (Network, &default, None, None),
    ] {
        let said = closed(kind, balancer, tasks);
        let fits = match (expected, &said) {
            (Some(expected), Some((message, hint))) => message.contains(expected) && hint.contains("security_groups:"),
            (None, None) => true,
            _ => false,
        };
        assert!(fits, "{kind:?} {balancer:?} {tasks:?}: {said:?}");
    }
}
