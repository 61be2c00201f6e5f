//! The id that a broker gave a topic, which tells a topic from another that was made later under the same name.
//!
//! librdkafka knows it, the Rust crate over it does not hand it out. This is the one file of the house with `unsafe` code: it calls
//! librdkafka's C functions on a client that the crate keeps alive, and frees what it made. It must do nothing else.
#![allow(unsafe_code, reason = "the C interface of librdkafka is the only way to a topic's id")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

/// The ids of `topics` by name, in the broker's own text form (base64).
///
/// Waits at most `timeout`. A topic that does not exist, or whose id the broker does not tell (before Kafka 2.8), is missing
/// in the answer; where the broker does not answer, all are.
pub fn topic_ids<C: ClientContext>(client: &Client<C>, topics: &[&str], timeout: Duration) -> BTreeMap<String, String> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    if pointers.is_empty() {
        return BTreeMap::new();
    }
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` keeps the native client alive during the call; `pointers` and the strings behind them outlive the request,
    // which copies them; every object made here is freed below, and none is used afterwards. The event owns its results.
    unsafe {
        let native = client.native_ptr();
        let options =
            sys::rd_kafka_AdminOptions_new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(native);
        let wanted = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(native, wanted, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, millis);
        let ids = if event.is_null() { BTreeMap::new() } else { read(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_TopicCollection_destroy(wanted);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        ids
    }
}

/// Reads the answer out of an event.
///
/// # Safety
/// `event` is a live event of librdkafka.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    // SAFETY: the result, its array and the strings belong to the event, which the caller keeps alive; null pointers are checked.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return ids;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let failed = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            if failed != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || id.is_null() {
                continue;
            }
            let unknown =
                sys::rd_kafka_Uuid_most_significant_bits(id) == 0 && sys::rd_kafka_Uuid_least_significant_bits(id) == 0;
            let text = sys::rd_kafka_Uuid_base64str(id);
            if !unknown && !text.is_null() {
                let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
                ids.insert(name, CStr::from_ptr(text).to_string_lossy().into_owned());
            }
        }
    }
    ids
}
