package event_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/stela-db/stela/services/event"
)

func TestParseMinor(t *testing.T) {
	for _, c := range []struct {
		number, currency string
		minor            int64
		bad              bool
	}{
		{"129.00", "EUR", 12900, false},
		{"129", "EUR", 12900, false},
		{"129.9", "EUR", 12990, false},
		{"1.29e2", "EUR", 12900, false},
		{"1.29E+2", "EUR", 12900, false},
		{"12900e-2", "EUR", 12900, false},
		{"0.1", "EUR", 10, false},
		{"129.0000", "EUR", 12900, false},
		{"0", "EUR", 0, false},
		{"-0", "EUR", 0, false},
		{"129", "JPY", 129, false},
		{"1.234", "KWD", 1234, false},
		{"10000000000000.00", "EUR", 1e15, false},
		{"129.005", "EUR", 0, true},
		{"0.30000000000000004", "EUR", 0, true},
		{"129.5", "JPY", 0, true},
		{"-1", "EUR", 0, true},
		{"10000000000000.01", "EUR", 0, true},
		{"1e30", "EUR", 0, true},
		{"1e1000000000", "EUR", 0, true},
		{"1e-1000000000", "EUR", 0, true},
		{"1e99999999999999999999", "EUR", 0, true},
		{"", "EUR", 0, true},
	} {
		minor, err := event.ParseMinor(json.Number(c.number), c.currency)
		if minor != c.minor || (err != nil) != c.bad || (err != nil && !errors.Is(err, event.ErrAmount)) {
			t.Errorf("%s %s: got %d, %v; wanted %d, bad %v", c.number, c.currency, minor, err, c.minor, c.bad)
		}
	}
}

// A total that JavaScript writes is the total that is charged, to the cent: every amount,
// in every way of writing it.
func TestParseMinorIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cents := rapid.Int64Range(0, event.MaxMinor).Draw(t, "cents")
		forms := []string{
			fmt.Sprintf("%d.%02d", cents/100, cents%100),
			fmt.Sprintf("%d.%02d000", cents/100, cents%100),
			fmt.Sprintf("%de-2", cents),
			fmt.Sprintf("%d.%02de0", cents/100, cents%100),
			fmt.Sprintf("0.%017de15", cents),
		}
		if cents%100 == 0 {
			forms = append(forms, fmt.Sprint(cents/100))
		}
		if cents%10 == 0 {
			forms = append(forms, fmt.Sprintf("%d.%d", cents/100, cents%100/10))
		}
		for _, form := range forms {
			// Through JSON, as it arrives.
			var raw struct {
				Total json.Number `json:"total"`
			}
			if err := json.Unmarshal([]byte(`{"total":`+form+`}`), &raw); err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			if got, err := event.ParseMinor(raw.Total, "EUR"); err != nil || got != cents {
				t.Fatalf("%s: got %d, %v", form, got, err)
			}
		}
		tenth := fmt.Sprintf("%d.%02d1", cents/100, cents%100)
		if got, err := event.ParseMinor(json.Number(tenth), "EUR"); err == nil {
			t.Fatalf("%s became %d", tenth, got)
		}
	})
}

func TestFormatMinor(t *testing.T) {
	for want, got := range map[string]string{
		"129.00 EUR": event.FormatMinor(12900, "EUR"),
		"0.05 EUR":   event.FormatMinor(5, "EUR"),
		"-0.05 EUR":  event.FormatMinor(-5, "EUR"),
		"129 JPY":    event.FormatMinor(129, "JPY"),
		"1.234 KWD":  event.FormatMinor(1234, "KWD"),
		"1.00":       event.FormatMinor(100, ""),
	} {
		if got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
}

func FuzzParseMinor(f *testing.F) {
	for _, seed := range []string{"129.00", "1.29e2", "1e999", "-0.0", "00", "1_0", ".5", "5."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, number string) {
		minor, err := event.ParseMinor(json.Number(number), "EUR")
		if err == nil && (minor < 0 || minor > event.MaxMinor) {
			t.Fatalf("%q became %d", number, minor)
		}
	})
}
