package fleet

// Backup is node.Backup with its secret by reference.
type Backup struct {
	// Path is a directory on that machine, below /var.
	Path string `yaml:"path"`
	// S3 is a bucket for the copies; without one no copy leaves the machine.
	S3 *S3 `yaml:"s3"`
}

// S3 is node.S3 with its secret by reference.
type S3 struct {
	// Endpoint is the URL of the service, such as https://s3.eu-central-1.amazonaws.com.
	Endpoint string `yaml:"endpoint"`
	// Region of the bucket, such as eu-central-1.
	Region string `yaml:"region"`
	// Bucket is the name of the bucket.
	Bucket string `yaml:"bucket"`
	// Prefix of all object names in the bucket, such as home/. Clusters that share a bucket
	// need different ones.
	Prefix string `yaml:"prefix"`
	// AccessKey is the access key ID, which is no secret.
	AccessKey string `yaml:"accessKey"`
	// SecretKey is the secret access key.
	SecretKey Ref `yaml:"secretKey"`
}
