//! What the error codes of EC2 mean (Amazon EC2 API Reference, *Error codes*).

/// What a code says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Refused: nothing was done.
    Refused,
    /// Turned away unread.
    Throttled,
    /// The server is in trouble: nobody knows what it did.
    Troubled,
    /// The thing asked about does not exist.
    NotFound,
    /// The token of this order was used before with other parameters: a machine may exist.
    UsedToken,
}

/// The class of a code; of an answer without one, by its status.
pub(super) fn class(status: u16, code: Option<&str>) -> Class {
    match code {
        Some(
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "EC2ThrottledException"
            | "SlowDown"
            | "BandwidthLimitExceeded",
        ) => Class::Throttled,
        Some(
            "InternalError" | "InternalFailure" | "ServerInternal" | "ServiceUnavailable"
            | "Unavailable",
        ) => Class::Troubled,
        Some("InvalidInstanceID.NotFound" | "InvalidInstanceID.Malformed") => Class::NotFound,
        Some("IdempotentParameterMismatch") => Class::UsedToken,
        // `InsufficientInstanceCapacity` comes with status 500 and is a refusal all the same; of a code that
        // nobody here knows the status says whether the server is well.
        Some(code)
            if status >= 500
                && !code.starts_with("Insufficient")
                && !code.ends_with("LimitExceeded") =>
        {
            Class::Troubled
        }
        Some(_) => Class::Refused,
        None if status == 429 => Class::Throttled,
        None if status == 408 || status >= 500 => Class::Troubled,
        None => Class::Refused,
    }
}

/// What to do about a refusal: which parameter it is about.
pub(super) fn advice(code: &str, words: &str) -> String {
    let begins = |start: &[&str]| start.iter().any(|start| code.starts_with(start));
    let lower = words.to_lowercase();
    let about = match code {
        "AuthFailure"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "OptInRequired"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken" => {
            "Check the parameters ec2_access, ec2_secret and region_name."
        }
        "RequestExpired" => "Check the clock of this computer: the request was dated wrongly.",
        "UnauthorizedOperation" | "AccessDenied" => {
            "The account of ec2_access has no right to do this: its IAM policy has to allow it."
        }
        "IdempotentInstanceTerminated" => {
            "The machine of this order was terminated before. A new attempt is a new order."
        }
        "VcpuLimitExceeded"
        | "InstanceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "AddressLimitExceeded" => {
            "The account's quota in region_name is used up: have it raised, or take another \
             instancetype or region."
        }
        "SpotMaxPriceTooLow" => "Check the parameter spot_price.",
        "UnsupportedOperation" | "IncorrectInstanceState" => {
            "The machine's kind or state does not allow it: one of the spot market, for example, \
             cannot be stopped."
        }
        _ if begins(&["Insufficient"]) || code == "Unsupported" => {
            "Take another instancetype or availabilityzone, or try later."
        }
        _ if begins(&["InvalidAMIID"]) => "Check the parameters ami and region_name.",
        _ if begins(&["InvalidKeyPair"]) => "Check the parameters keypair and region_name.",
        _ if begins(&["InvalidSubnet"]) => "Check the parameters subnetid and region_name.",
        _ if begins(&["InvalidGroup", "InvalidSecurityGroup"]) => {
            "Check the parameters securitygroups and securitygroupids."
        }
        _ if begins(&["InvalidPlacementGroup"]) => "Check the parameter placementgroup.",
        _ if begins(&["InvalidAddress", "InvalidAllocationID", "Resource.AlreadyAssociated"]) => {
            "Check the parameter elasticip."
        }
        _ if begins(&["InvalidBlockDevice", "InvalidSnapshot"]) => {
            "Check the parameter blockdevicemapping."
        }
        _ if lower.contains("availability zone") => "Check the parameter availabilityzone.",
        _ if lower.contains("instance type") => "Check the parameter instancetype.",
        _ if lower.contains("user data") => "Check the parameter userdata.",
        _ => "Check the parameters of the host.",
    };
    format!("Nothing was done. {about}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (status, code, expected) in [
            (503, Some("RequestLimitExceeded"), Class::Throttled),
            (503, Some("Unavailable"), Class::Troubled),
            (500, Some("InternalError"), Class::Troubled),
            (500, Some("InsufficientInstanceCapacity"), Class::Refused),
            (503, Some("InstanceLimitExceeded"), Class::Refused),
            (500, Some("ServerInternal"), Class::Troubled),
            (400, Some("ServerInternal"), Class::Troubled),
            (502, Some("SomethingOfALookAlike"), Class::Troubled),
            (400, Some("SomethingOfALookAlike"), Class::Refused),
            (400, Some("InvalidAMIID.NotFound"), Class::Refused),
            (403, Some("UnauthorizedOperation"), Class::Refused),
            (400, Some("IdempotentParameterMismatch"), Class::UsedToken),
            (400, Some("IdempotentInstanceTerminated"), Class::Refused),
            (400, Some("InvalidInstanceID.NotFound"), Class::NotFound),
            (502, None, Class::Troubled),
            (429, None, Class::Throttled),
            (404, None, Class::Refused),
        ] {
            assert_eq!(class(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn advice_names_the_parameter() {
        for (code, words, part) in [
            ("InvalidAMIID.Malformed", "", "ami"),
            ("InvalidParameterValue", "Invalid availability zone: [x]", "availabilityzone"),
            ("InvalidKeyPair.NotFound", "", "keypair"),
            ("InvalidSubnetID.NotFound", "", "subnetid"),
            ("InsufficientInstanceCapacity", "", "instancetype"),
            ("Unsupported", "", "instancetype"),
            ("UnsupportedOperation", "", "spot market"),
            ("UnauthorizedOperation", "", "IAM"),
            ("Odd", "", "parameters of the host"),
        ] {
            assert!(advice(code, words).contains(part), "{code}");
        }
    }
}
