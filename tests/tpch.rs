//! The 22 queries of TPC-H as materialized views, fed in several commits: each view is kept incrementally, and equal to its
//! query run as a batch after every commit (V1). At the end both equal PostgreSQL's answers.
//!
//! The queries stand in `tests/tpch/`, each with the answer that PostgreSQL 15 gives over the same rows: `TPCH_ROWS=dir`
//! writes those rows as CSV files for it.

use std::fmt::Display;
use std::path::Path;

use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::support::queries::{Feed, Query, follow, write_rows};
use crate::support::{self, Server};

/// A hundredth of the benchmark's smallest size: 60,000 lines of orders.
const SCALE: f64 = 0.01;
const COMMITS: usize = 4;

const TOPICS: &str = "
CREATE TOPIC region (r_regionkey INT, r_name TEXT, r_comment TEXT);
CREATE TOPIC nation (n_nationkey INT, n_name TEXT, n_regionkey INT, n_comment TEXT);
CREATE TOPIC part (p_partkey BIGINT, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INT, p_container TEXT,
    p_retailprice NUMERIC(15,2), p_comment TEXT);
CREATE TOPIC supplier (s_suppkey BIGINT, s_name TEXT, s_address TEXT, s_nationkey INT, s_phone TEXT,
    s_acctbal NUMERIC(15,2), s_comment TEXT);
CREATE TOPIC partsupp (ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty INT, ps_supplycost NUMERIC(15,2), ps_comment TEXT);
CREATE TOPIC customer (c_custkey BIGINT, c_name TEXT, c_address TEXT, c_nationkey INT, c_phone TEXT,
    c_acctbal NUMERIC(15,2), c_mktsegment TEXT, c_comment TEXT);
CREATE TOPIC orders (o_orderkey BIGINT, o_custkey BIGINT, o_orderstatus TEXT, o_totalprice NUMERIC(15,2), o_orderdate DATE,
    o_orderpriority TEXT, o_clerk TEXT, o_shippriority INT, o_comment TEXT);
CREATE TOPIC lineitem (l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT, l_quantity NUMERIC(15,2),
    l_extendedprice NUMERIC(15,2), l_discount NUMERIC(15,2), l_tax NUMERIC(15,2), l_returnflag TEXT, l_linestatus TEXT,
    l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct TEXT, l_shipmode TEXT, l_comment TEXT);
";

/// Views that are computed anew for each reader.
const RECOMPUTED: &[&str] = &[];

fn lines<T: Display>(rows: impl Iterator<Item = T>) -> Vec<String> {
    rows.map(|row| row.to_string()).collect()
}

/// The rows of each topic, as lines of CSV.
fn rows() -> Vec<(&'static str, Vec<String>)> {
    vec![
        (
            "region",
            lines(RegionGenerator::new(SCALE, 1, 1).iter().map(RegionCsv::new)),
        ),
        (
            "nation",
            lines(NationGenerator::new(SCALE, 1, 1).iter().map(NationCsv::new)),
        ),
        ("part", lines(PartGenerator::new(SCALE, 1, 1).iter().map(PartCsv::new))),
        (
            "supplier",
            lines(SupplierGenerator::new(SCALE, 1, 1).iter().map(SupplierCsv::new)),
        ),
        (
            "partsupp",
            lines(PartSuppGenerator::new(SCALE, 1, 1).iter().map(PartSuppCsv::new)),
        ),
        (
            "customer",
            lines(CustomerGenerator::new(SCALE, 1, 1).iter().map(CustomerCsv::new)),
        ),
        (
            "orders",
            lines(OrderGenerator::new(SCALE, 1, 1).iter().map(OrderCsv::new)),
        ),
        (
            "lineitem",
            lines(LineItemGenerator::new(SCALE, 1, 1).iter().map(LineItemCsv::new)),
        ),
    ]
}

#[tokio::test]
async fn tpch_is_kept_and_equal_to_its_batches() {
    let rows = rows();
    write_rows("TPCH_ROWS", &rows);
    let feed = Feed::spread(&rows, COMMITS);
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client.batch_execute(TOPICS).await.expect("the topics are made");
    let queries = Query::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tpch")));
    assert_eq!(queries.len(), 22);
    follow(&client, &queries, &feed, RECOMPUTED).await;
}
