//! Between a form, whose leaves are all text, and values as a service's shapes have them.

use serde_json::{Number, Value};

use super::iso8601;
use crate::aws_model::{Service, Shape, shape};

/// A form's parameters in the types of a shape. What does not fit stays as it is, to be refused as such.
pub fn from_form(service: Service, name: &str, value: Value) -> Value {
    each(service, name, value, &|shape, value| {
        let Value::String(text) = &value else { return value };
        let typed = match shape {
            Shape::Integer { .. } | Shape::Long { .. } => text.parse::<i64>().ok().map(Value::from),
            Shape::Double { .. } => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Shape::Boolean => text.parse::<bool>().ok().map(Value::Bool),
            Shape::Timestamp => {
                let time = text.parse::<jiff::Timestamp>().ok();
                time.map(|time| super::epoch_seconds(time.as_millisecond()))
            }
            // `Names=` is how a form has a list with nothing in it.
            Shape::List { .. } if text.is_empty() => Some(Value::Array(Vec::new())),
            _ => None,
        };
        typed.unwrap_or(value)
    })
}

/// A reply of a shape as XML writes it: times are text.
pub fn to_xml(service: Service, name: &str, value: Value) -> Value {
    each(service, name, value, &|shape, value| match (shape, value.as_f64()) {
        (Shape::Timestamp, Some(seconds)) => Value::from(iso8601((seconds * 1000.0).round() as i64)),
        _ => value,
    })
}

fn each(service: Service, name: &str, value: Value, change: &impl Fn(&Shape, Value) -> Value) -> Value {
    let Some(of) = shape(service, name) else { return value };
    match (of, value) {
        (Shape::Structure(structure), Value::Object(members)) => {
            let changed = members.into_iter().map(|(key, value)| match structure.member(&key) {
                Some(member) => (key, each(service, &member.shape, value, change)),
                None => (key, value),
            });
            Value::Object(changed.collect())
        }
        (Shape::List { element, .. }, Value::Array(items)) => {
            items.into_iter().map(|item| each(service, element, item, change)).collect()
        }
        (of, value) => change(of, value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_has_types_and_a_reply_times() {
        let form = json!({
            "AlarmName": "1", "Threshold": "5", "Period": "60", "ActionsEnabled": "true", "OKActions": "",
            "Dimensions": [{"Name": "a", "Value": "2"}], "EvaluationPeriods": "many", "Other": "3",
        });
        let typed = json!({
            "AlarmName": "1", "Threshold": 5.0, "Period": 60, "ActionsEnabled": true, "OKActions": [],
            "Dimensions": [{"Name": "a", "Value": "2"}], "EvaluationPeriods": "many", "Other": "3",
        });
        assert_eq!(from_form(Service::CloudWatch, "PutMetricAlarmInput", form), typed);
        let reply = json!({"MetricAlarms": [{"StateUpdatedTimestamp": 1.5, "Threshold": 1.5}]});
        let xml = json!({"MetricAlarms": [{"StateUpdatedTimestamp": "1970-01-01T00:00:01.500Z", "Threshold": 1.5}]});
        assert_eq!(to_xml(Service::CloudWatch, "DescribeAlarmsOutput", reply), xml);
    }
}
