//! Makes six nodes a cluster.
//!
//! Source: the commands `CLUSTER MEET`, `CLUSTER ADDSLOTSRANGE` (Redis 7.0) and
//! `CLUSTER REPLICATE`; `CLUSTER SLOTS`.

use std::net::SocketAddr;

use anyhow::Result;
use lab::parts::redis::field;
use redis::{Value, cmd};

use super::{
    Cluster, MASTERS, NAMES,
    report::{Known, ask, known_to},
    slots_of,
};

impl Cluster {
    pub(super) async fn form(&self) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            // If two masters claim the same slot, the one with the greater epoch gets it. So each
            // starts with an epoch of its own.
            let epoch = number + 1;
            ask::<()>(
                node.address,
                cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(epoch),
            )
            .await?;
            if number < MASTERS {
                let (first, last) = slots_of(number);
                let slots = &mut cmd("CLUSTER");
                slots.arg("ADDSLOTSRANGE").arg(first).arg(last);
                ask::<()>(node.address, slots).await?;
            }
        }
        let first = self.nodes[0].address;
        for node in &self.nodes[1..] {
            let meet = &mut cmd("CLUSTER");
            meet.arg("MEET").arg(node.address.ip().to_string());
            meet.arg(node.address.port()).arg(node.bus.port());
            ask::<()>(first, meet).await?;
        }
        self.wait_until("the nodes have not met", async || self.all(knows_all).await)
            .await?;
        for (master, replica) in self.nodes.iter().zip(&self.nodes[MASTERS..]) {
            let id: String = ask(master.address, cmd("CLUSTER").arg("MYID")).await?;
            ask::<()>(replica.address, cmd("CLUSTER").arg("REPLICATE").arg(id)).await?;
        }
        self.is_complete().await?;
        for replica in &self.nodes[MASTERS..] {
            self.is_replica(replica.address).await?;
        }
        Ok(())
    }

    /// Waits until all nodes say that the cluster is complete. A master that has started again
    /// says so two seconds later.
    pub async fn is_complete(&self) -> Result<()> {
        let what = "the nodes do not agree that the cluster is complete";
        self.wait_until(what, async || self.all(agrees).await).await
    }
}

async fn knows_all(address: SocketAddr) -> Result<bool> {
    let known = known_to(address).await?;
    Ok(known.len() == NAMES.len() && known.iter().all(Known::is_met))
}

/// Whether the node says that the cluster is complete: all masters, and a replica for each.
async fn agrees(address: SocketAddr) -> Result<bool> {
    let info: String = ask(address, cmd("CLUSTER").arg("INFO")).await?;
    let known = known_to(address).await?;
    let masters = known.iter().filter(|node| !node.slots.is_empty());
    // A node tells clients of a replica once it knows that the replica has got something.
    let slots: Vec<Vec<Value>> = ask(address, cmd("CLUSTER").arg("SLOTS")).await?;
    let have_a_replica = slots
        .iter()
        .all(|range| matches!(&range[..], [_first, _last, _master, _replica]));
    Ok(field(&info, "cluster_state") == Some("ok") && masters.count() == MASTERS && have_a_replica)
}
