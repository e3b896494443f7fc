//! CBOR (RFC 8949) as Smithy's RPC v2 protocol has it: values of JSON, with times tagged and blobs as bytes.
//! <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value};

use crate::aws_model::{Service, Shape, shape};

const DEEPEST: usize = 64;
/// The tag of a time in epoch seconds.
const TIME: u64 = 1;
const BREAK: u8 = 0xff;
const ENDLESS: u8 = 31;

/// A request's body; a blob becomes base64, a time the number of its seconds.
///
/// # Errors
///
/// What of it is not CBOR, or none of JSON's values.
pub fn decode(bytes: &[u8]) -> Result<Value, &'static str> {
    let mut reader = Reader { bytes, depth: 0 };
    let value = reader.item()?;
    if reader.bytes.is_empty() { Ok(value) } else { Err("something follows the value") }
}

struct Reader<'b> {
    bytes: &'b [u8],
    depth: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("the value is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self, info: u8) -> Result<u64, &'static str> {
        let width = match info {
            0..=23 => return Ok(info.into()),
            24..=27 => 1 << (info - 24),
            _ => return Err("a length that is none"),
        };
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Whether another item comes in what has `left` of them, or ends with a break.
    fn more(&mut self, left: &mut Option<u64>) -> bool {
        match left {
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
            None if self.bytes.first() == Some(&BREAK) => {
                self.bytes = &self.bytes[1..];
                false
            }
            None => true,
        }
    }

    fn count(&mut self, info: u8) -> Result<Option<u64>, &'static str> {
        if info == ENDLESS { Ok(None) } else { self.number(info).map(Some) }
    }

    fn item(&mut self) -> Result<Value, &'static str> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("the value is nested too deeply");
        }
        let initial = self.take(1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        let value = match major {
            0 => Value::from(self.number(info)?),
            1 => {
                let number = i64::try_from(self.number(info)?).map_err(|_| "a number beyond 64 bits")?;
                Value::from(-1 - number)
            }
            2 => Value::from(BASE64.encode(self.text(major, info)?)),
            3 => Value::from(String::from_utf8(self.text(major, info)?).map_err(|_| "a text that is not UTF-8")?),
            4 => {
                let (mut left, mut items) = (self.count(info)?, Vec::new());
                while self.more(&mut left) {
                    items.push(self.item()?);
                }
                Value::Array(items)
            }
            5 => {
                let (mut left, mut members) = (self.count(info)?, Map::new());
                while self.more(&mut left) {
                    let Value::String(name) = self.item()? else { return Err("a key that is no text") };
                    members.insert(name, self.item()?);
                }
                Value::Object(members)
            }
            6 => {
                self.number(info)?;
                self.item()?
            }
            _ => self.simple(info)?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn text(&mut self, major: u8, info: u8) -> Result<Vec<u8>, &'static str> {
        if info != ENDLESS {
            let length = usize::try_from(self.number(info)?).map_err(|_| "the value is cut short")?;
            return Ok(self.take(length)?.to_vec());
        }
        let (mut whole, mut left) = (Vec::new(), None);
        while self.more(&mut left) {
            let initial = self.take(1)?[0];
            if initial >> 5 != major || initial & 0x1f == ENDLESS {
                return Err("a part of another kind");
            }
            whole.extend(self.text(major, initial & 0x1f)?);
        }
        Ok(whole)
    }

    fn simple(&mut self, info: u8) -> Result<Value, &'static str> {
        let float = match info {
            20 => return Ok(Value::Bool(false)),
            21 => return Ok(Value::Bool(true)),
            22 | 23 => return Ok(Value::Null),
            25 => half(self.number(info)? as u16),
            26 => f64::from(f32::from_bits(self.number(info)? as u32)),
            27 => f64::from_bits(self.number(info)?),
            _ => return Err("a simple value that JSON has not"),
        };
        Number::from_f64(float).map(Value::Number).ok_or("a number that JSON has not")
    }
}

fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// A reply of this shape; without one, as the value is.
pub fn encode(service: Service, name: Option<&str>, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, service, name.and_then(|name| shape(service, name)), value);
    bytes
}

fn write(bytes: &mut Vec<u8>, service: Service, of: Option<&Shape>, value: &Value) {
    let known = |name: &String| shape(service, name);
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(truth) => bytes.push(if *truth { 0xf5 } else { 0xf4 }),
        Value::Number(number) => {
            if of == Some(&Shape::Timestamp) {
                head(bytes, 6, TIME);
            }
            match (number.as_u64(), number.as_i64()) {
                (Some(number), _) if !matches!(of, Some(Shape::Double { .. })) => head(bytes, 0, number),
                (_, Some(number)) if !matches!(of, Some(Shape::Double { .. })) => head(bytes, 1, !number as u64),
                _ => {
                    bytes.push(0xfb);
                    bytes.extend(number.as_f64().unwrap_or_default().to_be_bytes());
                }
            }
        }
        Value::String(text) => {
            let blob = if of == Some(&Shape::Blob) { BASE64.decode(text).ok() } else { None };
            let (major, content) = blob.as_deref().map_or((3, text.as_bytes()), |blob| (2, blob));
            head(bytes, major, content.len() as u64);
            bytes.extend(content);
        }
        Value::Array(items) => {
            head(bytes, 4, items.len() as u64);
            let element = if let Some(Shape::List { element, .. }) = of { known(element) } else { None };
            items.iter().for_each(|item| write(bytes, service, element, item));
        }
        Value::Object(members) => {
            head(bytes, 5, members.len() as u64);
            for (name, member) in members {
                head(bytes, 3, name.len() as u64);
                bytes.extend(name.as_bytes());
                let of = match of {
                    Some(Shape::Structure(structure)) => structure.member(name).and_then(|of| known(&of.shape)),
                    Some(Shape::Map { value, .. }) => known(value),
                    _ => None,
                };
                write(bytes, service, of, member);
            }
        }
    }
}

fn head(bytes: &mut Vec<u8>, major: u8, number: u64) {
    let (info, width) = match number {
        0..=23 => (number as u8, 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | info);
    bytes.extend(&number.to_be_bytes()[8 - width..]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        hex::decode(hexadecimal).unwrap()
    }

    /// From RFC 8949, appendix A.
    #[test]
    fn examples_of_the_standard() {
        let table = [
            ("00", json!(0)),
            ("17", json!(23)),
            ("1818", json!(24)),
            ("1903e8", json!(1000)),
            ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
            ("20", json!(-1)),
            ("3903e7", json!(-1000)),
            ("f93c00", json!(1.0)),
            ("f97bff", json!(65504.0)),
            ("f90001", json!(5.960_464_477_539_063e-8)),
            ("f9c400", json!(-4.0)),
            ("fa47c35000", json!(100_000.0)),
            ("fb3ff199999999999a", json!(1.1)),
            ("f4", json!(false)),
            ("f5", json!(true)),
            ("f6", json!(null)),
            ("c11a514b67b0", json!(1_363_896_240)),
            ("4401020304", json!("AQIDBA==")),
            ("62c3bc", json!("ü")),
            ("8301820203820405", json!([1, [2, 3], [4, 5]])),
            ("a26161016162820203", json!({"a": 1, "b": [2, 3]})),
            ("5f42010243030405ff", json!("AQIDBAU=")),
            ("7f657374726561646d696e67ff", json!("streaming")),
            ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
            ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
        ];
        for (encoded, value) in table {
            assert_eq!(decode(&bytes(encoded)), Ok(value), "{encoded}");
        }
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        let deep = "81".repeat(100) + "00";
        for encoded in
            ["", "18", "6261", "ff", "8201", "a10102", "7f6161", "62c328", "f97c00", "f97e00", "0000", "1c", &deep]
        {
            assert!(decode(&bytes(encoded)).is_err(), "{encoded}");
        }
        // a length that nothing could hold is no reason to reserve it
        assert_eq!(decode(&bytes("9bffffffffffffffff00")), Err("the value is cut short"));
    }

    #[test]
    fn replies_are_encoded_by_their_shape() {
        let alarm = json!({"StateUpdatedTimestamp": 1.5, "Threshold": 5, "Period": 60, "AlarmName": "a"});
        let reply = json!({"MetricAlarms": [alarm], "CompositeAlarms": []});
        let encoded = encode(Service::CloudWatch, Some("DescribeAlarmsOutput"), &reply);
        let text = hex::encode(&encoded);
        assert!(text.contains("c1fb3ff8000000000000"), "a time has its tag: {text}");
        assert!(text.contains("fb4014000000000000"), "a double is one: {text}");
        assert!(text.contains("183c"), "and an integer, too: {text}");
        assert_eq!(decode(&encoded).unwrap()["MetricAlarms"][0]["Threshold"], 5.0);
        let numbers = json!([0, 23, 24, 255, 256, 65535, 65536, u64::from(u32::MAX), u64::MAX, -1, -25, i64::MIN, 0.5]);
        assert_eq!(decode(&encode(Service::CloudWatch, None, &numbers)), Ok(numbers));
    }
}
