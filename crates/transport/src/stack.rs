//! The layers around a service, in their order.
//!
//! From the outside: the access log, which sees and counts how every call ends; admission control, before all
//! work that costs something; the check of the request's headers; deadlines, which end the layers
//! inside; the bodies, whose limits hold until the last byte; and next to the service the mapping
//! of its framework's errors.

use std::sync::Arc;

use crate::access_log::{AccessLog, Observing};
use crate::admission::Admission;
use crate::admission_control::AdmissionControl;
use crate::bodies::BoundedBodies;
use crate::deadline::Deadlines;
use crate::error_mapping::ErrorMapping;
use crate::methods::Methods;
use crate::protocol::Protocol;
use crate::request_check::RequestCheck;

/// A service with all layers around it. Clones share their admission.
pub type Stack<S, P> = AccessLog<
    AdmissionControl<RequestCheck<Deadlines<BoundedBodies<ErrorMapping<S, P>, P>, P>, P>, P>,
    P,
>;

/// Puts all layers around a service that speaks `protocol` and has `methods`. Its calls are counted
/// by `admission`, and observed as `observing` says.
pub fn stack<S, P: Protocol>(
    service: S,
    protocol: P,
    methods: &'static Methods,
    admission: Arc<Admission>,
    observing: Observing,
) -> Stack<S, P> {
    let service = ErrorMapping::new(service, protocol);
    let service = BoundedBodies::new(service, protocol);
    let service = Deadlines::new(service, protocol);
    let service = RequestCheck::new(service, protocol);
    let service = AdmissionControl::new(service, admission, methods, protocol);
    AccessLog::new(service, methods, observing, protocol)
}
