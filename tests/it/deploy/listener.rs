//! Rules of listeners: what of their conditions can be written into a URL.

use aws_sdk_elasticloadbalancingv2::types::{HostHeaderConditionConfig, PathPatternConditionConfig, RuleCondition};
use steadystate::deploy::load_balancer::listener::plain;

#[test]
fn host_and_path_of_a_rule_where_they_are_plain() {
    let host = |values: &[&str]| {
        let config = values.iter().fold(HostHeaderConditionConfig::builder(), |config, value| config.values(*value));
        RuleCondition::builder().field("host-header").host_header_config(config.build()).build()
    };
    let path = |values: &[&str]| {
        let config = values.iter().fold(PathPatternConditionConfig::builder(), |config, value| config.values(*value));
        RuleCondition::builder().field("path-pattern").path_pattern_config(config.build()).build()
    };
    // As older rules are described.
    let older = RuleCondition::builder().field("host-header").values("old.example.com").build();
    let method = RuleCondition::builder().field("http-request-method").values("GET").build();
    for (conditions, expected) in [
        (vec![], (None, None)),
        (vec![method], (None, None)),
        (vec![host(&["shop.example.com"])], (Some("shop.example.com"), None)),
        (vec![older], (Some("old.example.com"), None)),
        (vec![host(&["*.example.com", "shop.example.com"])], (Some("shop.example.com"), None)),
        (vec![host(&["*.example.com"]), path(&["/api/*"])], (None, Some("/api/"))),
        (vec![host(&["a.example.com"]), path(&["/v?/x", "/api"])], (Some("a.example.com"), Some("/api"))),
        (vec![path(&["/*"])], (None, None)),
        (vec![path(&["*.png"])], (None, None)),
        (vec![path(&["/a/*/b"])], (None, None)),
    ] {
        assert_eq!(plain(&conditions), expected, "{conditions:?}");
    }
}
