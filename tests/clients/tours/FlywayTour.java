// Flyway: baseline of a database that has relations, migrations, the state that it shows, validation.
import java.nio.file.*;
import java.sql.*;
import java.util.*;
import org.flywaydb.core.Flyway;

public class FlywayTour {
    interface Body { void run() throws Exception; }

    static void step(String name, Body body) throws Exception {
        try {
            body.run();
            System.out.println("PASS " + name);
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAIL " + name + ": " + String.valueOf(error).replaceAll("\\s+", " "));
            System.exit(0); // without its table Flyway waits for its own lock
        }
    }

    static void same(Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) throw new AssertionError("got " + got + " in place of " + wanted);
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        String topic = env.getOrDefault("TOURS_DDL", "TOPIC");
        String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        Path folder = Files.createDirectories(Path.of(env.get("WORK"), "flyway"));
        Files.writeString(folder.resolve("V2__events.sql"), "CREATE " + topic + " events (id INT, name TEXT);\n");
        Files.writeString(folder.resolve("V3__rows.sql"), "INSERT INTO events VALUES (1, 'a'), (2, 'b');\n"
            + "CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM events;\n");
        try (Connection db = DriverManager.getConnection(url, env.get("PGUSER"), "millstream");
             Statement statement = db.createStatement()) {
            statement.execute("DROP SCHEMA IF EXISTS flyway_tour CASCADE");
        }
        Flyway flyway = Flyway.configure().dataSource(url, env.get("PGUSER"), "millstream").schemas("flyway_tour")
            .defaultSchema("flyway_tour").locations("filesystem:" + folder).baselineVersion("1").cleanDisabled(false).load();

        step("info", () -> same(flyway.info().all().length, 2));
        step("baseline", () -> same(flyway.baseline().successfullyBaselined, true));
        step("migrate", () -> {
            same(flyway.migrate().migrationsExecuted, 2);
            try (Connection db = DriverManager.getConnection(url, env.get("PGUSER"), "millstream");
                 Statement statement = db.createStatement()) {
                ResultSet row = statement.executeQuery("SELECT n FROM flyway_tour.counted");
                row.next();
                same(row.getInt(1), 2);
            }
        });
        step("again", () -> {
            same(flyway.migrate().migrationsExecuted, 0);
            flyway.validate();
            same(flyway.info().current().getVersion().toString(), "3");
        });
        step("clean", () -> flyway.clean());
    }
}
