// pgjdbc: what DatabaseMetaData reads, prepared statements with types, fetch sizes, batches, CopyManager, savepoints.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.LocalDateTime;
import java.util.*;
import org.postgresql.PGConnection;

public class Jdbc {
    interface Body { void run() throws Exception; }

    static void step(String name, Body body) throws Exception {
        try {
            body.run();
            System.out.println("PASS " + name);
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAIL " + name + ": " + String.valueOf(error).replaceAll("\\s+", " "));
            Thread.sleep(200); // until the runner has read that line, no error of the next step may come
        }
    }

    static void same(Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) throw new AssertionError("got " + got + " in place of " + wanted);
    }

    static List<String> rows(ResultSet result, String... columns) throws SQLException {
        List<String> rows = new ArrayList<>();
        while (result.next()) {
            StringJoiner row = new StringJoiner(" ");
            for (String column : columns) row.add(result.getString(column));
            rows.add(row.toString());
        }
        return rows;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        String topic = env.getOrDefault("TOURS_DDL", "TOPIC");
        String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        Connection db = DriverManager.getConnection(url, env.get("PGUSER"), "millstream");

        step("metadata", () -> {
            DatabaseMetaData meta = db.getMetaData();
            same(rows(meta.getTables(null, "shop", "%", null), "TABLE_NAME", "TABLE_TYPE"),
                List.of("spending MATERIALIZED VIEW", "customers TABLE", "orders TABLE", "dear VIEW"));
            same(rows(meta.getColumns(null, "shop", "orders", "%"), "COLUMN_NAME", "TYPE_NAME", "IS_NULLABLE").subList(0, 5),
                List.of("id int8 NO", "customer int8 NO", "product text YES", "price numeric YES", "placed timestamptz YES"));
            same(rows(meta.getColumns(null, "shop", "orders", "price"), "COLUMN_SIZE", "DECIMAL_DIGITS", "REMARKS"),
                List.of("10 2 in euro"));
            same(rows(meta.getPrimaryKeys(null, "shop", "orders"), "COLUMN_NAME"), List.of());
            same(rows(meta.getIndexInfo(null, "shop", "orders", false, true), "INDEX_NAME"), List.of());
            same(rows(meta.getSchemas(), "TABLE_SCHEM").contains("shop"), true);
            same(rows(meta.getTypeInfo(), "TYPE_NAME").contains("jsonb"), true);
        });
        step("prepared", () -> {
            try (Statement statement = db.createStatement()) {
                statement.execute("DROP " + topic + " IF EXISTS jdbc_events");
                statement.execute("CREATE " + topic
                    + " jdbc_events (id INT, name TEXT, at TIMESTAMP, amount NUMERIC(8,2), tags TEXT[], ok BOOLEAN)");
            }
            try (PreparedStatement insert = db.prepareStatement("INSERT INTO jdbc_events VALUES (?, ?, ?, ?, ?, ?)")) {
                for (int i = 0; i < 200; i++) {
                    insert.setInt(1, i);
                    insert.setString(2, "n" + i);
                    insert.setObject(3, LocalDateTime.of(2024, 2, 29, 12, 0));
                    insert.setBigDecimal(4, new BigDecimal("1.50"));
                    insert.setArray(5, db.createArrayOf("text", new String[] {"a", null}));
                    insert.setBoolean(6, true);
                    insert.addBatch();
                }
                same(Arrays.stream(insert.executeBatch()).sum(), 200);
            }
            try (PreparedStatement select = db.prepareStatement("SELECT * FROM jdbc_events WHERE id = ?")) {
                for (int i = 0; i < 12; i++) { // from the fifth on the driver prepares it on the server and reads binary
                    select.setInt(1, i);
                    ResultSet row = select.executeQuery();
                    same(row.next(), true);
                    List<Object> got = List.of(row.getString("name"), row.getObject("at", LocalDateTime.class),
                        row.getBigDecimal("amount"), row.getBoolean("ok"),
                        Arrays.asList((String[]) row.getArray("tags").getArray()));
                    same(got, List.of("n" + i, LocalDateTime.of(2024, 2, 29, 12, 0), new BigDecimal("1.50"), true,
                        Arrays.asList("a", null)));
                }
            }
        });
        step("fetch_size", () -> {
            db.setAutoCommit(false);
            try (Statement statement = db.createStatement()) {
                statement.setFetchSize(17);
                same(rows(statement.executeQuery("SELECT id FROM jdbc_events ORDER BY id"), "id").size(), 200);
            } finally {
                db.commit();
                db.setAutoCommit(true);
            }
        });
        step("savepoint", () -> {
            db.setAutoCommit(false);
            try (Statement statement = db.createStatement()) {
                statement.executeUpdate("INSERT INTO jdbc_events (id) VALUES (-1)");
                Savepoint here = db.setSavepoint();
                statement.executeUpdate("INSERT INTO jdbc_events (id) VALUES (-2)");
                db.rollback(here);
                db.commit();
                same(rows(statement.executeQuery("SELECT id FROM jdbc_events WHERE id < 0"), "id"), List.of("-1"));
            } finally {
                db.commit();
                db.setAutoCommit(true);
            }
        });
        step("copy_manager", () -> {
            var copy = db.unwrap(PGConnection.class).getCopyAPI();
            same(copy.copyIn("COPY jdbc_events (id, name) FROM STDIN", new StringReader("1000\tx\n1001\ty\n")), 2L);
            StringWriter out = new StringWriter();
            copy.copyOut("COPY (SELECT id, name FROM jdbc_events WHERE id >= 1000 ORDER BY id) TO STDOUT (FORMAT csv)",
                out);
            same(out.toString(), "1000,x\n1001,y\n");
        });
        step("error", () -> {
            try (Statement statement = db.createStatement()) {
                statement.executeQuery("SELECT nothing FROM jdbc_events");
                throw new AssertionError("no error");
            } catch (SQLException error) {
                same(error.getSQLState(), "42703");
            }
        });
    }
}
