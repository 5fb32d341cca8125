// pgx: the binary protocol, statements it prepares and keeps, batches, CopyFrom in the binary format, a pool, notifications.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func same(got, wanted any) error {
	if reflect.DeepEqual(got, wanted) {
		return nil
	}
	return fmt.Errorf("got %#v in place of %#v", got, wanted)
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	topic := os.Getenv("TOURS_DDL")
	if topic == "" {
		topic = "TOPIC"
	}
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		fmt.Println("FAIL connect:", err)
		return
	}
	step := func(name string, run func() error) {
		if err := run(); err != nil {
			fmt.Printf("FAIL %s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
			time.Sleep(200 * time.Millisecond) // until the runner has read that line, no error of the next step may come
		} else {
			fmt.Println("PASS", name)
		}
	}
	type event struct {
		ID   int64
		Name *string
		At   time.Time
		Tags []string
		Doc  map[string]any
	}
	at := time.Date(2024, 2, 29, 12, 0, 0, 5000, time.UTC)
	text := func(s string) *string { return &s }

	step("insert_and_read", func() error {
		for _, statement := range []string{"DROP " + topic + " IF EXISTS pgx_events",
			"CREATE " + topic + " pgx_events (id BIGINT, name TEXT, at TIMESTAMPTZ, tags TEXT[], doc JSONB)"} {
			if _, err := pool.Exec(ctx, statement); err != nil {
				return err
			}
		}
		for i := range 10 {
			if _, err := pool.Exec(ctx, "INSERT INTO pgx_events VALUES ($1, $2, $3, $4, $5)", i, fmt.Sprint("n", i), at,
				[]string{"a", "b"}, map[string]any{"i": i}); err != nil {
				return err
			}
		}
		rows, err := pool.Query(ctx, "SELECT * FROM pgx_events WHERE id = $1", 4)
		if err != nil {
			return err
		}
		events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
		if err != nil {
			return err
		}
		for i := range events {
			events[i].At = events[i].At.UTC()
		}
		return same(events, []event{{4, text("n4"), at, []string{"a", "b"}, map[string]any{"i": 4.0}}})
	})
	step("copy_from", func() error {
		rows := [][]any{}
		for i := range 1000 {
			rows = append(rows, []any{int64(100 + i), "copied"})
		}
		n, err := pool.CopyFrom(ctx, pgx.Identifier{"pgx_events"}, []string{"id", "name"}, pgx.CopyFromRows(rows))
		if err != nil {
			return err
		}
		var sum int64
		if err := pool.QueryRow(ctx, "SELECT sum(id)::bigint FROM pgx_events WHERE name = $1", "copied").Scan(&sum); err != nil {
			return err
		}
		return same([]int64{n, sum}, []int64{1000, 599500})
	})
	step("batch", func() error {
		batch := &pgx.Batch{}
		got := make([]int, 20)
		for i := range got {
			batch.Queue("SELECT $1::int * 3", i).QueryRow(func(row pgx.Row) error { return row.Scan(&got[i]) })
		}
		if err := pool.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return same([]int{got[0], got[19]}, []int{0, 57})
	})
	step("transaction", func() error {
		undo := errors.New("undo")
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO pgx_events (id) VALUES (-1)"); err != nil {
				return err
			}
			return undo
		})
		if !errors.Is(err, undo) {
			return err
		}
		var n int
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM pgx_events WHERE id < 0").Scan(&n); err != nil {
			return err
		}
		return same(n, 0)
	})
	step("simple_protocol", func() error {
		var name string
		row := pool.QueryRow(ctx, "SELECT name FROM pgx_events WHERE id = $1 AND name <> $2", pgx.QueryExecModeSimpleProtocol, 3, "it's")
		if err := row.Scan(&name); err != nil {
			return err
		}
		return same(name, "n3")
	})
	step("error", func() error {
		var refused *pgconn.PgError
		_, err := pool.Exec(ctx, "SELECT nothing FROM pgx_events")
		if !errors.As(err, &refused) {
			return fmt.Errorf("no error of the server: %v", err)
		}
		return same(refused.Code, "42703")
	})
	step("notify", func() error {
		connection, err := pgx.Connect(ctx, "")
		if err != nil {
			return err
		}
		defer connection.Close(ctx)
		if _, err := connection.Exec(ctx, "LISTEN pgx_tour"); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, "SELECT pg_notify('pgx_tour', 'hello')"); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		note, err := connection.WaitForNotification(short)
		if err != nil {
			return err
		}
		return same(note.Payload, "hello")
	})
}
