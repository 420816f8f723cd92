//! The configuration of an OCI bundle that has what the others have: the namespaces, /proc, /tmp, and no more. See the
//! runtime-spec, config.md.

#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::{Value, json};

use crate::peers::{Files, Setup};

/// What stands in `config.json`, for a caller with these ids.
pub fn config(setup: Setup, files: &Files, uid: u32, gid: u32) -> Value {
    let mut namespaces = vec!["user", "mount", "pid", "uts", "ipc", "cgroup"];
    if setup.net {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] }),
    ];
    mounts.extend((0..setup.binds).map(|i| {
        let source = files.binds.join(i.to_string());
        json!({ "destination": format!("/tmp/at/{i}"), "type": "bind", "source": source, "options": ["bind", "ro"] })
    }));
    let capabilities = json!(["CAP_KILL"]);
    json!({
        "ociVersion": "1.0.0",
        "hostname": "container",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [Path::new("/bin").join(setup.workload.name())],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "root": { "path": files.rootfs, "readonly": false },
        "mounts": mounts,
        "linux": {
            "uidMappings": [{ "containerID": 0, "hostID": uid, "size": 1 }],
            "gidMappings": [{ "containerID": 0, "hostID": gid, "size": 1 }],
            "namespaces": namespaces,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Workload;

    #[test]
    fn a_bundle_has_what_the_case_asks() {
        let files = Files {
            workloads: "/w".into(),
            rootfs: "/r".into(),
            binds: "/b".into(),
            bundles: "/o".into(),
            state: "/s".into(),
        };
        let kinds = |config: &Value| {
            let namespaces = config["linux"]["namespaces"].as_array().expect("a list").iter();
            namespaces
                .map(|namespace| namespace["type"].as_str().expect("a type").to_owned())
                .collect::<Vec<_>>()
        };
        let shared = config(Setup { workload: Workload::Hold, ..Setup::SHARED }, &files, 7, 8);
        assert_eq!(shared["process"]["args"], json!(["/bin/hold"]));
        assert_eq!(shared["linux"]["uidMappings"][0]["hostID"], 7);
        assert_eq!(shared["linux"]["gidMappings"][0]["hostID"], 8);
        assert!(!kinds(&shared).contains(&"network".into()));
        let net = config(Setup { net: true, binds: 2, ..Setup::SHARED }, &files, 7, 8);
        assert!(kinds(&net).contains(&"network".into()));
        assert_eq!(net["mounts"].as_array().expect("a list").len(), 5);
        assert_eq!(net["mounts"][4]["source"], "/b/1");
    }
}
