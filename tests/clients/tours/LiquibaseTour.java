// Liquibase: a change log with plain SQL and with changes of its own, a snapshot of the shop.
import java.nio.file.*;
import java.sql.*;
import java.util.*;
import liquibase.CatalogAndSchema;
import liquibase.Contexts;
import liquibase.Liquibase;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;
import liquibase.resource.DirectoryResourceAccessor;
import liquibase.snapshot.SnapshotControl;
import liquibase.snapshot.SnapshotGeneratorFactory;
import liquibase.structure.core.Column;
import liquibase.structure.core.Table;
import liquibase.structure.core.View;

public class LiquibaseTour {
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

    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        String topic = env.getOrDefault("TOURS_DDL", "TOPIC");
        String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        Path folder = Files.createDirectories(Path.of(env.get("WORK"), "liquibase"));
        Files.writeString(folder.resolve("log.sql"), "--liquibase formatted sql\n--changeset a:1\nCREATE " + topic
            + " liquibase_events (id INT, name TEXT);\n--changeset a:2\nINSERT INTO liquibase_events VALUES (1, 'a');\n");
        Connection db = DriverManager.getConnection(url, env.get("PGUSER"), "millstream");
        try (Statement statement = db.createStatement()) {
            for (String name : List.of("liquibase_events", "databasechangelog", "databasechangeloglock"))
                statement.execute("DROP " + topic + " IF EXISTS " + name);
        }
        var database = DatabaseFactory.getInstance().findCorrectDatabaseImplementation(new JdbcConnection(db));

        step("snapshot", () -> {
            var control = new SnapshotControl(database, Table.class, View.class, Column.class);
            var snapshot = SnapshotGeneratorFactory.getInstance().createSnapshot(new CatalogAndSchema(null, "shop"),
                database, control);
            var names = new TreeSet<String>();
            for (Table table : snapshot.get(Table.class)) {
                names.add(table.getName());
                if (table.getName().equals("orders")) {
                    same(table.getColumns().size(), 8);
                    same(table.getColumn("price").getType().toString(), "numeric(10, 2)");
                    same(table.getColumn("id").isNullable(), false);
                }
            }
            same(names, new TreeSet<>(Set.of("customers", "orders")));
            same(snapshot.get(View.class).stream().anyMatch(view -> view.getName().equals("dear")), true);
        });
        step("update", () -> {
            new Liquibase("log.sql", new DirectoryResourceAccessor(folder), database).update(new Contexts());
            try (Statement statement = db.createStatement()) {
                ResultSet row = statement.executeQuery("SELECT count(*) FROM liquibase_events");
                row.next();
                same(row.getInt(1), 1);
            }
        });
        System.exit(0);
    }
}
