package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteCount is a flag that reads "1048576", "64KiB", "512MB" or "1GiB".
type byteCount int64

// Set implements pflag.Value.
func (b *byteCount) Set(text string) error {
	units := []struct {
		name   string
		factor int64
	}{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
		{"B", 1},
	}
	number, factor := strings.TrimSpace(text), int64(1)
	for _, unit := range units {
		if before, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = strings.TrimSpace(before), unit.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n != 0 && n*factor/factor != n {
		return fmt.Errorf("%q is not a number of bytes such as 1048576, 64MiB or 1GB", text)
	}
	*b = byteCount(n * factor)
	return nil
}

// String implements pflag.Value.
func (b *byteCount) String() string {
	n := int64(*b)
	for _, unit := range []struct {
		name   string
		factor int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n != 0 && n%unit.factor == 0 {
			return strconv.FormatInt(n/unit.factor, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Type implements pflag.Value.
func (b *byteCount) Type() string { return "bytes" }
